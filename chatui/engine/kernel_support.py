"""Whether there are kernels of our own for a device, and whether they are right there."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from chatui.engine.architectures.decoder.causal_attention import DecoderShape

DEVICES = {"cuda"}
"""Kinds of devices that they are for; the tests add "cpu", where Triton interprets them."""


def vector_kernels(states: Tensor) -> ModuleType | None:
    """:mod:`chatui.engine.triton_kernels` if ``states`` are one vector that they are there for."""
    if states.device.type not in DEVICES:
        return None
    return _checked_kernels(states.device) if states.numel() == states.shape[-1] else None


def attention_kernel(joint: Tensor, shape: DecoderShape, normed: bool) -> ModuleType | None:
    """:mod:`chatui.engine.triton_attention` if it is there for a decoder of this shape.

    Args:
        joint: queries, keys and values; of one token, or there is nothing for it.
        normed: whether queries and keys go through a norm.
    """
    if joint.device.type not in DEVICES or joint.shape[0] != 1:
        return None
    return _checked_attention(joint.device, joint.dtype, shape, normed)


@cache
def _checked_kernels(device: torch.device) -> ModuleType | None:
    """None without Triton or a C compiler for it, and where a kernel gives something else."""
    if find_spec("triton") is None:
        return None
    from chatui.engine import packed

    random = torch.Generator().manual_seed(0)
    try:
        from chatui.engine import triton_kernels

        vector = torch.randn(80, generator=random).to(device)
        weight = torch.randn(100, 80, generator=random).to(device)
        exact = functional.linear(vector.double(), weight.double())
        found = [(triton_kernels.matvec(vector, weight, None), exact)]
        for bits in packed.BITS:
            made = packed.pack(weight, bits)
            expected = vector.double() @ packed.unpack(made)[:, :100].double()
            found.append((triton_kernels.packed_matvec(vector, made, 100, bits, None), expected))
    except Exception:
        # Whatever a compiler says: PyTorch's own products serve as well.
        return None
    right = all(torch.allclose(one.double(), two, atol=1e-3) for one, two in found)
    return triton_kernels if right else None


@cache
def _checked_attention(
    device: torch.device, dtype: torch.dtype, shape: DecoderShape, normed: bool
) -> ModuleType | None:
    """As :func:`_checked_kernels`, at a position in the cache's first part and in a later one."""
    if find_spec("triton") is None:
        return None
    from chatui.engine.architectures.decoder.causal_attention import CachedAttention
    from chatui.engine.architectures.decoder.fixed_cache import FixedLayer

    random = torch.Generator().manual_seed(0)

    def numbers(*size: int) -> Tensor:
        return torch.randn(size, generator=random).to(device, dtype)

    turning = shape.heads + shape.key_heads
    joint = numbers(1, (turning + shape.key_heads) * shape.head_dim)
    norm = numbers(turning, shape.head_dim) if normed else None
    cached = numbers(2, shape.key_heads, 700, shape.head_dim)
    turn = None
    if shape.rotary is not None:
        turn = (numbers(1, 1, shape.rotary_dim), numbers(1, 1, shape.rotary_dim))

    def results(kernel: ModuleType | None, place: int) -> tuple[Tensor, Tensor, Tensor]:
        position = torch.tensor([place], device=device)
        mask = (torch.arange(700, device=device) <= position)[None]
        layer = FixedLayer(cached[0].clone(), cached[1].clone(), zero_unused=True)
        attend = CachedAttention(shape, device, lambda *_: kernel)
        seen = attend(joint, turn, norm, position, layer, 700, mask)
        return seen, layer.keys, layer.values

    near = 1e-3 if dtype == torch.float32 else 0.05
    try:
        from chatui.engine import triton_attention

        for place in (40, 600):
            both = zip(results(triton_attention, place), results(None, place), strict=True)
            if not all(torch.allclose(one, two, atol=near, rtol=near) for one, two in both):
                return None
    except Exception:
        # Whatever a compiler says: PyTorch's own operations serve as well.
        return None
    return triton_attention
