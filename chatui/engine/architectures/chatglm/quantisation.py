"""The packed linear layers of chatglm-6b-int8 and chatglm-6b-int4.

A row of a weight is q · scale with scale = max|w| / (2^(bits-1) - 1). int8 stores one q in a
byte; int4 stores two signed q, the even column in the high half and the odd one in the low half.
Each weight is rounded to fp16, as by the original CUDA kernels.

Before the first product the integers are converted to the layout of :mod:`chatui.engine.packed`,
with separate scales, or of :mod:`chatui.engine.int8_weight`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from chatui.engine import int8_weight
from chatui.engine.int8_weight import Int8Weight
from chatui.engine.packed import pack_codes
from chatui.engine.quantised import QuantisedLinear


def unpack_codes(packed: Tensor, bits: int) -> Tensor:
    """Return the integers of a weight in a checkpoint's layout: int8 [out, in]."""
    if bits == 8:
        return packed
    return torch.stack((packed >> 4, (packed << 4) >> 4), dim=-1).flatten(1)


class ChatGLMQuantisedLinear(QuantisedLinear):
    """A linear layer with a packed weight.

    The weight is loaded in the checkpoint's layout, int8 [out, in · bits / 8], and converted before
    its first use to uint8 [blocks, in, row].

    It subclasses `nn.Linear` so that peft can put LoRA beside it. An adapter cannot be merged into
    its integers.

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
        self.bias = nn.Parameter(torch.empty(out_features)) if bias else None

    def forward(self, states: Tensor) -> Tensor:
        self.prepare_weight()
        return super().forward(states)

    def prepare_weight(self, *, widen: bool = False) -> None:
        """Convert the weight to the layout of the products, once.

        Args:
            widen: convert 4 bits to 8, which is faster on a CPU.
        """
        if self.weight.dtype != torch.int8:
            return
        codes = unpack_codes(self.weight.detach(), self.bits)
        if (self.bits == 8 or widen) and int8_weight.is_faster(codes):
            self.int8_weight = Int8Weight(codes, self.weight_scale)
            packed = torch.empty(0, dtype=torch.uint8)
        else:
            packed = pack_codes(codes, self.bits)
        self.weight = nn.Parameter(packed, requires_grad=False)

    def _apply(
        self, fn: Callable[[Tensor], Tensor], recurse: bool = True
    ) -> ChatGLMQuantisedLinear:
        """Apply `fn` to all tensors, but keep the scales in fp16, where they are exact."""
        scale = self.weight_scale.data
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.weight_scale.dtype != scale.dtype:
            self.weight_scale.data = scale.to(self.weight_scale.device)
        return self


def make_linear(in_features: int, out_features: int, bits: int) -> nn.Linear:
    """Return a linear layer with a bias, packed if `bits` is 8 or 4, plain if it is 0."""
    if bits:
        return ChatGLMQuantisedLinear(in_features, out_features, bits)
    return nn.Linear(in_features, out_features)
