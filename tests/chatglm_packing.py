"""Quantise weights like the released int8 and int4 checkpoints of ChatGLM-6B."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from chatui.engine.architectures.chatglm.quantisation import ChatGLMQuantisedLinear, unpack_codes


def quantise(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Quantise a weight like the released checkpoints.

    Args:
        weight: fp16, bf16 or fp32 [out, in]; `in` even for 4 bits.
        bits: 8 or 4.

    Returns:
        int8 [out, in · bits / 8], and fp16 scales [out].
    """
    largest = weight.abs().amax(dim=1)
    scale = (largest / (2 ** (bits - 1) - 1)).half()
    divisor = torch.where(scale == 0, torch.ones_like(scale), scale).to(weight.dtype)
    values = torch.round(weight / divisor[:, None]).to(torch.int8)
    if bits == 4:
        values = (values[:, 0::2] << 4) | (values[:, 1::2] & 0x0F)
    return values.contiguous(), scale


def dequantise(packed: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Dequantise a weight, or some of its rows: q · scale, rounded to fp16.

    Args:
        packed: int8 [out, in · bits / 8].
        scale: fp16 [out].
        bits: 8 or 4.

    Returns:
        fp16 [out, in].
    """
    # This product is exact in fp32.
    return (unpack_codes(packed, bits).float() * scale.float()[:, None]).half()


def packed_linear(linear: nn.Linear, bits: int) -> ChatGLMQuantisedLinear:
    """Return a packed copy of a linear layer."""
    layer = ChatGLMQuantisedLinear(linear.in_features, linear.out_features, bits, bias=False)
    packed, scale = quantise(linear.weight.detach(), bits)
    layer.weight = nn.Parameter(packed, requires_grad=False)
    layer.weight_scale = nn.Parameter(scale, requires_grad=False)
    layer.bias = linear.bias
    return layer
