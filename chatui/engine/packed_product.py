"""Products with weights of 8 or 4 bits (:mod:`chatui.engine.packed`).

A few vectors on a CPU use PyTorch's kernels for weighted sums. One vector on a GPU uses a Triton
kernel, which unpacks in registers (:mod:`chatui.engine.triton_kernels`). In all other cases a few
blocks at a time are unpacked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from chatui.engine import kernel_support
from chatui.engine.packed import BLOCK_OUTPUTS, bits_of, unpack, weighted_sums

_MAX_SUMMED_VECTORS = 5
"""Number of vectors up to which weighted sums are faster than unpacking (measured)."""
_MAX_UNPACKED_CPU, _MAX_UNPACKED_GPU = 1 << 19, 1 << 25
"""Numbers unpacked at a time: on a CPU to stay in its cache, on a GPU to occupy it."""


def product(states: Tensor, packed: Tensor, outputs: int, scale: Tensor | None = None) -> Tensor:
    """Multiply vectors by a packed weight; differentiable with respect to the vectors.

    Args:
        states: floating point [..., in].
        packed: uint8 [blocks, in, row].
        outputs: number of outputs, without padding.
        scale: float16 [out], a factor on each output's weights, which are then rounded to float16
            (ChatGLM-6B); None for none.

    Returns:
        [..., outputs] in the dtype of ``states``; computed in float32 on a CPU.
    """
    vectors = states.reshape(-1, states.shape[-1])
    differentiable = states.requires_grad and torch.is_grad_enabled()
    if not differentiable and (kernels := kernel_support.vector_kernels(states)):
        sums: Tensor = kernels.packed_matvec(vectors[0], packed, outputs, bits_of(packed), scale)
        return sums.view(*states.shape[:-1], outputs)
    on_cpu = states.device.type == "cpu"
    vectors = vectors.float() if on_cpu else vectors
    if on_cpu and len(vectors) <= _MAX_SUMMED_VECTORS and not differentiable:
        made = weighted_sums(vectors, packed)[:, :outputs]
        # This skips the rounding of the weights to float16, a relative error of at most 2^-12.
        made = made if scale is None else made * scale.float()
    else:
        made = unpacked_product(vectors, lambda: _unpacked_parts(vectors, packed, scale))
        made = made[:, :outputs]
    return made.to(states.dtype).view(*states.shape[:-1], outputs)


def _unpacked_parts(vectors: Tensor, packed: Tensor, scale: Tensor | None) -> Iterator[Tensor]:
    """Yield the unpacked weight in parts [in, some outputs], in the vectors' dtype."""
    width, inputs = BLOCK_OUTPUTS[bits_of(packed)], packed.shape[1]
    limit = _MAX_UNPACKED_CPU if vectors.device.type == "cpu" else _MAX_UNPACKED_GPU
    step = max(1, limit // (width * inputs))
    for start in range(0, len(packed), step):
        weight = unpack(packed[start : start + step])
        if scale is not None:
            factors = scale[start * width : (start + step) * width].float()
            weight = (weight[:, : len(factors)] * factors).half()
        yield weight.to(vectors.dtype)


def unpacked_product(vectors: Tensor, parts: Callable[[], Iterable[Tensor]]) -> Tensor:
    """Multiply ``[n, in]`` by a weight, unpacking a part of it at a time; differentiable.

    Args:
        parts: returns the weight's parts ``[in, some outputs]``, in the vectors' dtype. The
            backward pass calls it again, to save memory.
    """
    product: Tensor = _UnpackedProduct.apply(vectors, parts)  # type: ignore[no-untyped-call]
    return product


class _UnpackedProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, parts: Callable[[], Iterable[Tensor]]) -> Tensor:
        ctx.shape, ctx.parts = vectors.shape, parts
        return torch.cat([vectors @ part for part in parts()], dim=1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        before, start = gradients[0].new_zeros(ctx.shape), 0
        for part in ctx.parts():
            end = start + part.shape[1]
            before.addmm_(gradients[0][:, start:end], part.T)
            start = end
        return before, None
