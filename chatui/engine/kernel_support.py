"""Select chatui's Triton kernels for a device, after checking their results on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

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
    """Return the kernels for matrix-vector products if they work on a device."""
    from chatui.engine import packed

    random = torch.Generator().manual_seed(0)
    vector = torch.randn(80, generator=random).to(device)
    weight = torch.randn(100, 80, generator=random).to(device)

    def results(kernels: ModuleType) -> Iterator[tuple[Tensor, Tensor]]:
        yield kernels.matvec(vector, weight, None), weight.double() @ vector.double()
        for bits in packed.BITS:
            made = packed.pack(weight, bits)
            expected = vector.double() @ packed.unpack(made)[:, :100].double()
            yield kernels.packed_matvec(vector, made, 100, bits, None), expected

    return _module_if_correct("triton_kernels", results, 1e-3)


@cache
def _checked_attention(
    device: torch.device, dtype: torch.dtype, shape: DecoderShape, normed: bool
) -> ModuleType | None:
    """Return the kernel if it works at a position in the cache's first part and in a later one."""
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

    def attend(kernel: ModuleType | None, place: int) -> tuple[Tensor, Tensor, Tensor]:
        position = torch.tensor([place], device=device)
        mask = (torch.arange(700, device=device) <= position)[None]
        layer = FixedLayer(cached[0].clone(), cached[1].clone(), zero_unused=True)
        attention = CachedAttention(shape, device, lambda *_: kernel)
        attended = attention(qkv, rotation, norm, position, layer, 700, mask)
        return attended, layer.keys, layer.values

    def results(kernel: ModuleType) -> Iterator[tuple[Tensor, Tensor]]:
        for place in (40, 600):
            yield from zip(attend(kernel, place), attend(None, place), strict=True)

    return _module_if_correct("triton_attention", results, 1e-3 if dtype == torch.float32 else 0.05)


def _module_if_correct(
    name: str,
    results: Callable[[ModuleType], Iterator[tuple[Tensor, Tensor]]],
    tolerance: float,
) -> ModuleType | None:
    """Return a module of kernels; None without Triton or its C compiler, or if a result is wrong.

    Args:
        results: computes results with the kernels, and the expected ones.
    """
    if find_spec("triton") is None:
        return None
    try:
        kernels = import_module(f"chatui.engine.{name}")
        for found, expected in results(kernels):
            if not torch.allclose(found.double(), expected.double(), tolerance, tolerance):
                return None
    except Exception:
        # Compilers raise many types of errors; PyTorch's own operations are used instead.
        return None
    return kernels
