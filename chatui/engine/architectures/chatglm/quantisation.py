"""The packed linears of chatglm-6b-int8 and chatglm-6b-int4.

A row of a weight is q · scale with scale = max|w| / (2^(bits-1) - 1). int8 keeps one q in a
byte; int4 keeps two, the even column in the high half and the odd one in the low half, both
signed. The product is taken and rounded in fp16, as the original CUDA kernels do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

# Unpacked elements of a block: on CPU what stays in its cache, elsewhere what fills the device.
BLOCK_ELEMENTS_CPU = 1 << 18
BLOCK_ELEMENTS_ELSEWHERE = 1 << 24


def quantise(weight: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Pack a weight as the released checkpoints are packed.

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
    """Unpack a weight, or some of its rows.

    Args:
        packed: int8 [out, in · bits / 8].
        scale: fp16 [out].
        bits: 8 or 4.

    Returns:
        fp16 [out, in].
    """
    values = torch.stack(halves(packed), dim=-1).flatten(1) if bits == 4 else packed
    return scaled(values, scale)


def halves(packed: Tensor) -> tuple[Tensor, Tensor]:
    """The even and the odd columns of an int4 weight, each int8 [out, in / 2]."""
    return packed >> 4, (packed << 4) >> 4


def scaled(values: Tensor, scale: Tensor) -> Tensor:
    """q · scale, rounded once to fp16 (the product of the two is exact in fp32).

    Args:
        values: int8 [out, in].
        scale: fp16 [out].

    Returns:
        fp16 [out, in].
    """
    return (values.float() * scale.float()[:, None]).half()


class QuantisedLinear(nn.Linear):
    """A linear layer whose weight stays packed in memory and is unpacked by blocks of rows.

    It is an `nn.Linear` by class, so that peft puts LoRA beside it; merging an adapter into it
    is not possible, as its weight holds integers.

    Args:
        in_features: size of the input's last dimension.
        out_features: size of the output's last dimension.
        bits: 8 or 4.
        bias: whether a bias is added.
    """

    def __init__(self, in_features: int, out_features: int, bits: int, bias: bool = True) -> None:
        nn.Module.__init__(self)
        self.in_features = in_features
        self.out_features = out_features
        self.bits = bits
        packed = torch.empty(out_features, in_features * bits // 8, dtype=torch.int8)
        scale = torch.empty(out_features, dtype=torch.float16)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.weight_scale = nn.Parameter(scale, requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None  # type: ignore[assignment]

    @classmethod
    def from_linear(cls, linear: nn.Linear, bits: int) -> QuantisedLinear:
        """Pack a plain linear layer, on the device where it is."""
        with torch.device("meta"):
            layer = cls(linear.in_features, linear.out_features, bits, bias=False)
        packed, scale = quantise(linear.weight.detach(), bits)
        layer.weight = nn.Parameter(packed, requires_grad=False)
        layer.weight_scale = nn.Parameter(scale, requires_grad=False)
        layer.bias = linear.bias
        return layer

    def forward(self, input: Tensor) -> Tensor:
        """Apply the layer.

        Args:
            input: fp16, bf16 or fp32 [..., in].

        Returns:
            [..., out] in the input's dtype.
        """
        on_cpu = input.device.type == "cpu"
        limit = BLOCK_ELEMENTS_CPU if on_cpu else BLOCK_ELEMENTS_ELSEWHERE
        rows = max(1, limit // self.in_features)
        if self.bits == 4:
            # Even columns first, then the odd ones: cheaper than to interleave the weight.
            input = torch.cat((input[..., 0::2], input[..., 1::2]), dim=-1)
        blocks = []
        for start in range(0, self.out_features, rows):
            values = self.weight[start : start + rows]
            if self.bits == 4:
                values = torch.cat(halves(values), dim=1)
            weight = scaled(values, self.weight_scale[start : start + rows])
            blocks.append(functional.linear(input, weight.to(input.dtype)))
        output = torch.cat(blocks, dim=-1)
        return output if self.bias is None else output + self.bias.to(input.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> QuantisedLinear:
        """As `nn.Module._apply`, but no cast reaches the scales: they are exact in fp16 alone."""
        scale = self.weight_scale.data
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.weight_scale.dtype != scale.dtype:
            self.weight_scale.data = scale.to(self.weight_scale.device)
        return self

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, bits={self.bits}"


def make_linear(in_features: int, out_features: int, bits: int) -> nn.Linear:
    """A linear layer with a bias: plain where `bits` is 0, else packed (8 or 4)."""
    if bits:
        return QuantisedLinear(in_features, out_features, bits)
    return nn.Linear(in_features, out_features)
