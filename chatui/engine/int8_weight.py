"""Weights of 8 bits in the layout of FBGEMM, whose products on a CPU read them at memory's speed.

A weight is ``code · scale`` with a scale for each output. FBGEMM multiplies 8-bit codes by numbers
of 7 bits. One such number would lose too much of the states, so each of their numbers is the sum of
two, the second of which has the rest of the first: 14 bits together, in one product of two rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

MIN_ELEMENTS = 1 << 22
"""Of a weight, for which this layout is taken."""
_MOST = 63
"""The largest number of 7 bits. FBGEMM adds two products in 16 bits, where larger ones overflow."""
_ZERO = 64
_FINER = 2 * _MOST
"""Rounding leaves half a step, so the second part counts in so much smaller ones."""
_IN_STEPS = torch.tensor([_MOST, _MOST * _FINER], dtype=torch.float32)[:, None, None]
"""Of both parts, for numbers between -1 and 1."""
_LEAST = 1e-30


class Int8Weight:
    """A weight ``[out, in]``.

    Args:
        codes: int8 ``[out, in]``.
        scale: floating point ``[out]``.
    """

    def __init__(self, codes: Tensor, scale: Tensor) -> None:
        self.shape = codes.shape
        zeros = torch.zeros(len(scale), dtype=torch.int64)
        with warnings.catch_warnings():
            # These tensors are to go some day; then the rows of ``packed`` serve alone.
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
        """Quantise floating point ``[out, in]``, each output by its largest number."""
        weight = weight.float()
        largest = weight.abs().amax(dim=1)
        scale = torch.where(largest == 0, 1, largest / 127)
        return cls((weight / scale[:, None]).round_().to(torch.int8), scale)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Bytes of the codes, and of a scale, a zero and a sum for each output."""
        outputs, inputs = self.shape
        return outputs * (inputs + 12)

    def dequantise(self) -> Tensor:
        """The numbers, float32 ``[out, in]``."""
        made: Tensor = torch.ops.quantized.linear_unpack(self._packed)[0].dequantize()
        return made

    def product(self, parts: Tensor) -> Tensor:
        """States in parts, float32 ``[2, n, in]``, times the weight: float32 ``[2, n, out]``."""
        _, count, inputs = parts.shape
        made: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            parts.view(2 * count, inputs), 1.0, _ZERO, self._packed
        )
        return made.view(2, count, -1)


def products(states: Tensor, weights: Sequence[Int8Weight]) -> Tensor:
    """States times several weights, side by side; a gradient passes on to the states.

    Args:
        states: floating point ``[..., in]``.

    Returns:
        ``[..., Σ out]`` in the dtype of ``states``.
    """
    vectors = states.reshape(-1, states.shape[-1]).float()
    if states.requires_grad and torch.is_grad_enabled():
        parts = [_Learned.apply(vectors, weight) for weight in weights]  # type: ignore[no-untyped-call]
        return torch.cat(parts, dim=-1).to(states.dtype).view(*states.shape[:-1], -1)
    # Few operations: after a product, which empties the processor's cache, each is slow.
    largest = torch.linalg.vector_norm(vectors, torch.inf, dim=1, keepdim=True).clamp_(min=_LEAST)
    pair = vectors * (_IN_STEPS / largest)
    # FBGEMM rounds; what that leaves is the second part.
    pair[1].sub_(pair[0].round(), alpha=_FINER)
    made = [weight.product(pair) for weight in weights]
    sums = made[0] if len(made) == 1 else torch.cat(made, dim=-1)
    total = torch.add(sums[0], sums[1], alpha=1 / _FINER).mul_(largest * (1 / _MOST))
    return total.to(states.dtype).view(*states.shape[:-1], -1)


class _Learned(torch.autograd.Function):
    """The product with the numbers themselves, which the way back makes anew."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, weight: Int8Weight) -> Tensor:
        ctx.weight = weight
        return functional.linear(vectors, weight.dequantise())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] @ ctx.weight.dequantise(), None


def is_faster(weight: Tensor) -> bool:
    """Whether a weight ``[out, in]`` is multiplied faster so than as the rows of ``packed``.

    Of a small one, taking the states apart costs more than the product (measured with AVX2).
    """
    return weight.device.type == "cpu" and weight.numel() >= MIN_ELEMENTS and fbgemm_works()


@cache
def fbgemm_works() -> bool:
    """Whether PyTorch carries FBGEMM for this processor, and it does what is said here."""
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        return False
    random = torch.Generator().manual_seed(0)
    weight, states = torch.randn(40, 64, generator=random), torch.randn(3, 64, generator=random)
    try:
        made = Int8Weight.quantise(weight)
        plain, found = made.dequantise(), products(states, [made])
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    return torch.allclose(plain, weight, atol=0.02) and torch.allclose(
        found, states @ plain.T, atol=0.02
    )
