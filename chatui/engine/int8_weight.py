"""8-bit weights in FBGEMM's layout, with products on a CPU at the speed of its memory.

A weight is ``code · scale`` with one scale per output. FBGEMM multiplies 8-bit codes by 7-bit
inputs, which is too coarse for the states. Each input is therefore split into two 7-bit numbers,
the second of which holds the rounding error of the first, and both are multiplied in one call.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from chatui.engine.packed_product import unpacked_product

MIN_ELEMENTS = 1 << 22
"""Smallest size of a weight, in numbers, for which this layout is used."""
_MAX_CODE = 63
"""Largest 7-bit number. FBGEMM adds two products in 16 bits, which larger inputs overflow."""
_ZERO_POINT = 64
_SECOND_SCALE = 2 * _MAX_CODE
"""Scale of the second number relative to the first; the rounding error is at most half a step."""
_STEPS = torch.tensor([_MAX_CODE, _MAX_CODE * _SECOND_SCALE], dtype=torch.float32)[:, None, None]
"""Scales of both numbers, for inputs between -1 and 1."""
_MIN_SCALE = 1e-30


class Int8Weight:
    """An 8-bit weight ``[out, in]``.

    Args:
        codes: int8 ``[out, in]``.
        scale: floating point ``[out]``.
    """

    def __init__(self, codes: Tensor, scale: Tensor) -> None:
        self.shape = codes.shape
        zeros = torch.zeros(len(scale), dtype=torch.int64)
        with warnings.catch_warnings():
            # PyTorch warns that these tensors are deprecated; without them `packed` is used.
            warnings.simplefilter("ignore")
            made = torch._make_per_channel_quantized_tensor(codes, scale.double(), zeros, 0)
        before = torch.backends.quantized.engine
        torch.backends.quantized.engine = "fbgemm"
        try:
            self._packed = torch.ops.quantized.linear_prepack(made, None)
        finally:
            torch.backends.quantized.engine = before

    @classmethod
    def quantise(cls, weight: Tensor) -> Int8Weight:
        """Quantise floating point ``[out, in]``; each output is scaled by its largest magnitude."""
        weight = weight.float()
        largest = weight.abs().amax(dim=1)
        scale = torch.where(largest == 0, 1, largest / 127)
        return cls((weight / scale[:, None]).round_().to(torch.int8), scale)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Size in bytes: the codes, and a scale, a zero point and a sum for each output."""
        outputs, inputs = self.shape
        return outputs * (inputs + 12)

    def dequantise(self) -> Tensor:
        """Return the weight as float32 ``[out, in]``."""
        made: Tensor = torch.ops.quantized.linear_unpack(self._packed)[0].dequantize()
        return made

    def product(self, parts: Tensor) -> Tensor:
        """Multiply split states, float32 ``[2, n, in]``, by the weight: float32 ``[2, n, out]``."""
        _, count, inputs = parts.shape
        made: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            parts.view(2 * count, inputs), 1.0, _ZERO_POINT, self._packed
        )
        return made.view(2, count, -1)


def products(states: Tensor, weights: Sequence[Int8Weight]) -> Tensor:
    """Multiply states by several weights and concatenate the results.

    The product is differentiable with respect to the states.

    Args:
        states: floating point ``[..., in]``.

    Returns:
        ``[..., Σ out]`` in the dtype of ``states``.
    """
    vectors = states.reshape(-1, states.shape[-1]).float()
    if states.requires_grad and torch.is_grad_enabled():
        exact = unpacked_product(vectors, lambda: (one.dequantise().T for one in weights))
        return exact.to(states.dtype).view(*states.shape[:-1], -1)
    # Each further operation is slow, because the product evicts the processor's cache.
    largest = torch.linalg.vector_norm(vectors, torch.inf, dim=1, keepdim=True).clamp_(
        min=_MIN_SCALE
    )
    pair = vectors * (_STEPS / largest)
    # FBGEMM rounds the first number; the second one holds the rounding error.
    pair[1].sub_(pair[0].round(), alpha=_SECOND_SCALE)
    parts = [weight.product(pair) for weight in weights]
    sums = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
    total = torch.add(sums[0], sums[1], alpha=1 / _SECOND_SCALE).mul_(largest * (1 / _MAX_CODE))
    return total.to(states.dtype).view(*states.shape[:-1], -1)


def is_faster(weight: Tensor) -> bool:
    """True if products with a weight ``[out, in]`` are faster in this layout than in `packed`'s.

    For a small weight, splitting the states takes longer than the product (measured with AVX2).
    """
    return weight.device.type == "cpu" and weight.numel() >= MIN_ELEMENTS and fbgemm_works()


@cache
def fbgemm_works() -> bool:
    """True if PyTorch has FBGEMM for this processor and it gives the expected results."""
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        return False
    random = torch.Generator().manual_seed(0)
    weight, states = torch.randn(40, 64, generator=random), torch.randn(3, 64, generator=random)
    try:
        quantised = Int8Weight.quantise(weight)
        dequantised, result = quantised.dequantise(), products(states, [quantised])
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return torch.allclose(dequantised, weight, atol=0.02) and torch.allclose(
        result, states @ dequantised.T, atol=0.02
    )
