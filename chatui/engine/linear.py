"""Faster matrix products for one vector on a GPU, and for float32 on AMD processors.

On a CPU, PyTorch computes float32 products with Intel's MKL, which reads weights at a quarter of
the memory's speed on AMD processors. oneDNN, which is part of PyTorch too, is two to three times as
fast there, for one token and for many, and needs no copy of the weights.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from chatui.engine import kernel_support

# Multiplications below which a call of oneDNN costs more than it saves.
_MIN_WORK = 1 << 18
_MIN_WORK_TRANSPOSED = 1 << 19


@cache
def onednn_is_faster() -> bool:
    """True if float32 products are computed by oneDNN on this processor.

    The choice depends on the processor's vendor, so that a seed always gives the same text.
    """
    compiled: bool = torch._C.has_mkl and torch._C._has_mkldnn
    if not (compiled and hasattr(torch.ops.mkldnn, "_linear_pointwise") and _is_amd()):
        return False
    weight, vector = torch.rand(8, 4), torch.rand(1, 4)
    try:
        product = _onednn(vector, weight, None)
    except RuntimeError:
        return False
    return torch.allclose(product, functional.linear(vector, weight), atol=1e-5)


def _is_amd() -> bool:
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return "AMD" in platform.processor()


def _onednn(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    output: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return output


def linear(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute ``functional.linear`` with the fastest library available.

    Args:
        states: [..., in].
        weight: [out, in].
        bias: [out] or None.

    Returns:
        [..., out].
    """
    if (
        weight.dtype == states.dtype
        and (kernels := kernel_support.vector_kernels(states))
        and weight.is_contiguous()
    ):
        vector: Tensor = kernels.matvec(states.reshape(-1), weight, bias)
        return vector.view(*states.shape[:-1], -1)
    if (
        states.dtype == weight.dtype == torch.float32
        and states.device.type == "cpu"
        and states.numel() * weight.shape[0] >= _MIN_WORK
        and onednn_is_faster()
    ):
        return _onednn(states, weight, bias)
    return functional.linear(states, weight, bias)


class FastLinear(nn.Linear):
    """An ``nn.Linear`` that calls :func:`linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


class FastConv1D(Conv1D):  # type: ignore[misc]
    """GPT-2's linear layer, with a weight [in, out], computed by oneDNN if that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32 and x.numel() * self.nf >= _MIN_WORK_TRANSPOSED:
            return _onednn(x, self.weight.t(), self.bias)
        output: Tensor = super().forward(x)
        return output


def speed_up(model: Any) -> None:
    """Make the linear layers of a float32 model on the CPU use oneDNN if that is faster.

    Layers keep their weights, and their new classes are subclasses of those that adapters look for.
    """
    if not onednn_is_faster():
        return
    for module in model.modules():
        parameter = next(module.parameters(recurse=False), None)
        if parameter is None or parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            continue
        if type(module) is nn.Linear:
            module.__class__ = FastLinear
        elif type(module) is Conv1D:
            module.__class__ = FastConv1D
