"""Select chatui's Triton kernels for a device, after checking their results on it."""

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
"""Device types with kernels; the tests add "cpu" for Triton's interpreter."""


def vector_kernels(states: Tensor) -> ModuleType | None:
    """Return :mod:`chatui.engine.triton_kernels` if ``states`` is one vector on such a device."""
    if states.device.type not in DEVICES:
        return None
    return _checked_kernels(states.device) if states.numel() == states.shape[-1] else None


def attention_kernel(qkv: Tensor, shape: DecoderShape, normed: bool) -> ModuleType | None:
    """Return :mod:`chatui.engine.triton_attention` if it works for a decoder of this shape.

    Args:
        qkv: queries, keys and values ``[rows, …]``; the kernel supports one row.
        normed: whether queries and keys are normalised.
    """
    if qkv.device.type not in DEVICES or qkv.shape[0] != 1:
        return None
    return _checked_attention(qkv.device, qkv.dtype, shape, normed)


@cache
def _checked_kernels(device: torch.device) -> ModuleType | None:
    """Return the kernels; None without Triton or its C compiler, or if a result is wrong."""
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
        # Compilers raise many types of errors; PyTorch's own products are used instead.
        return None
    correct = all(torch.allclose(one.double(), two, atol=1e-3) for one, two in found)
    return triton_kernels if correct else None


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

    rotated_heads = shape.heads + shape.key_heads
    qkv = numbers(1, (rotated_heads + shape.key_heads) * shape.head_dim)
    norm = numbers(rotated_heads, shape.head_dim) if normed else None
    cached = numbers(2, shape.key_heads, 700, shape.head_dim)
    rotation = None
    if shape.rotary is not None:
        rotation = (numbers(1, 1, shape.rotary_dim), numbers(1, 1, shape.rotary_dim))

    def results(kernel: ModuleType | None, place: int) -> tuple[Tensor, Tensor, Tensor]:
        position = torch.tensor([place], device=device)
        mask = (torch.arange(700, device=device) <= position)[None]
        layer = FixedLayer(cached[0].clone(), cached[1].clone(), zero_unused=True)
        attend = CachedAttention(shape, device, lambda *_: kernel)
        attended = attend(qkv, rotation, norm, position, layer, 700, mask)
        return attended, layer.keys, layer.values

    tolerance = 1e-3 if dtype == torch.float32 else 0.05
    try:
        from chatui.engine import triton_attention

        for place in (40, 600):
            both = zip(results(triton_attention, place), results(None, place), strict=True)
            for one, two in both:
                if not torch.allclose(one, two, atol=tolerance, rtol=tolerance):
                    return None
    except Exception:
        # Compilers raise many types of errors; PyTorch's own operations are used instead.
        return None
    return triton_attention
