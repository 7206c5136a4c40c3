"""Linear layers that read the same states, as one product where their weights allow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from chatui.engine.linear import FastLinear, linear

Projection: TypeAlias = Callable[[Tensor], Tensor]
"""States ``[rows, in]`` -> ``[rows, out]``."""


def projection(*modules: nn.Module, move: bool) -> Projection:
    """What all ``modules`` give for the same states, side by side.

    Plain layers whose weights lie one behind the other are one product. Others (packed weights,
    adapters on them) are asked one by one.

    Args:
        move: lay the weights of plain layers together. Each layer keeps a view, so memory grows by
            one layer's weights while they move, and not afterwards.
    """
    if len(modules) == 1:
        return forward_of(modules[0])
    if all(_is_plain(module) for module in modules):
        weight = _together(modules, move=move)
        # Biases are short enough to be copied.
        biased = [module.bias is not None for module in modules]
        if weight is not None and len(set(biased)) == 1:
            bias = torch.cat([_bias(module) for module in modules]) if biased[0] else None
            return lambda states: linear(states, weight, bias)
    parts = [forward_of(module) for module in modules]
    return lambda states: torch.cat([part(states) for part in parts], dim=-1)


def forward_of(module: Any) -> Callable[..., Any]:
    """How to call a module: past PyTorch's dispatch unless something hangs on it."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    called: Callable[..., Any] = module if hooked else module.forward
    return called


def _is_plain(module: Any) -> bool:
    return (
        type(module) in (nn.Linear, FastLinear)
        and not (module._forward_hooks or module._forward_pre_hooks)
        and module.weight.is_contiguous()
    )


def _bias(module: Any) -> Tensor:
    bias: Tensor = module.bias.detach()
    return bias


def _together(modules: Sequence[Any], *, move: bool) -> Tensor | None:
    """The modules' weights as one, ``[Σ rows, in]``, without a copy of its own."""
    tensors: list[Tensor] = [module.weight.detach() for module in modules]
    first = tensors[0]
    rows = sum(tensor.shape[0] for tensor in tensors)
    storage, place = first.untyped_storage().data_ptr(), first.data_ptr()
    adjacent = True
    for tensor in tensors:
        same = tensor.untyped_storage().data_ptr() == storage and tensor.dtype == first.dtype
        adjacent = adjacent and same and tensor.data_ptr() == place
        place += tensor.nbytes
    if adjacent:
        return first.as_strided((rows, first.shape[1]), (first.shape[1], 1))
    if not move or len({(tensor.dtype, tensor.device) for tensor in tensors}) > 1:
        return None
    whole, end = torch.cat(tensors), 0
    for module, tensor in zip(modules, tensors, strict=True):
        start, end = end, end + tensor.shape[0]
        module.weight = nn.Parameter(whole[start:end], requires_grad=False)
    return whole
