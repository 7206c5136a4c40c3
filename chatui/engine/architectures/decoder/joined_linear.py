"""Linear layers that read the same states, as one product where their weights allow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from chatui.engine.adapters.applied import LoraHook
from chatui.engine.int8_weight import products
from chatui.engine.linear import FastLinear, linear

Projection: TypeAlias = Callable[[Tensor], Tensor]
"""States ``[rows, in]`` -> ``[rows, out]``."""


def projection(*modules: Any, move: bool) -> Projection:
    """What all ``modules`` give for the same states, side by side.

    Plain layers whose weights lie one behind the other are one product, and their adapters' pairs
    are a second and a third. Others (packed weights, for instance) are asked one by one.

    Args:
        move: lay the weights of plain layers together. Each layer keeps a view, so memory grows by
            one layer's weights while they move, and not afterwards.
    """
    if all(_has_codes(module) for module in modules):
        return _of_codes(modules)
    if not all(_is_plain(module) for module in modules):
        return _one_by_one([forward_of(module) for module in modules])
    weight = _together(modules, move=move)
    if weight is None:
        return _one_by_one([projection(module, move=False) for module in modules])
    bias = _joined_bias(modules)
    if not any(_pairs_on(module) for module in modules):
        return lambda states: linear(states, weight, bias)
    down, up = _joined_pairs(modules)

    def adapted(states: Tensor) -> Tensor:
        return torch.addmm(linear(states, weight, bias), functional.linear(states, down), up.T)

    return adapted


def _one_by_one(parts: Sequence[Projection]) -> Projection:
    if len(parts) == 1:
        return parts[0]
    return lambda states: torch.cat([part(states) for part in parts], dim=-1)


def forward_of(module: Any) -> Callable[..., Any]:
    """How to call a module: past PyTorch's dispatch unless something hangs on it."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    called: Callable[..., Any] = module if hooked else module.forward
    return called


def _is_plain(module: Any) -> bool:
    """Whether it multiplies by its weight as it lies, and only an adapters' pair hangs on it."""
    return (
        type(module) in (nn.Linear, FastLinear)
        and not module._forward_pre_hooks
        and len(_pairs_on(module)) == len(module._forward_hooks) <= 1
        and module.weight.is_contiguous()
    )


def _has_codes(module: Any) -> bool:
    """Whether it multiplies by codes of 8 bits, and nothing hangs on it."""
    alone = not module._forward_pre_hooks and not module._forward_hooks
    return alone and getattr(module, "int8_weight", None) is not None and module.weight.numel() == 0


def _of_codes(modules: Sequence[Any]) -> Projection:
    weights = [module.int8_weight for module in modules]
    parts = [
        torch.zeros(len(module.int8_weight))
        if module.bias is None
        else module.bias.detach().float()
        for module in modules
    ]
    if all(module.bias is None for module in modules):
        return lambda states: products(states, weights)
    bias = torch.cat(parts)
    return lambda states: products(states, weights) + bias.to(states.dtype)


def _pairs_on(module: Any) -> list[LoraHook]:
    return [hook for hook in module._forward_hooks.values() if isinstance(hook, LoraHook)]


def _joined_pairs(modules: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """All adapters' pairs as one: ``[Σ rank, in]``, ``[Σ out, Σ rank]``."""
    downs, ups = [], []
    for module in modules:
        outputs, inputs = module.weight.shape
        pair = next(iter(_pairs_on(module)), None)
        downs.append(module.weight.new_empty((0, inputs)) if pair is None else pair.down)
        ups.append(module.weight.new_empty((outputs, 0)) if pair is None else pair.up)
    up: Tensor = torch.block_diag(*ups)  # type: ignore[no-untyped-call]
    return torch.cat(downs), up


def _joined_bias(modules: Sequence[Any]) -> Tensor | None:
    """Biases of layers and pairs, ``[Σ out]``; they are short enough to be copied."""
    parts, biased = [], False
    for module in modules:
        bias = module.weight.new_zeros(module.weight.shape[0])
        for more in (module.bias, *(pair.bias for pair in _pairs_on(module))):
            if more is not None:
                bias, biased = bias + more.detach(), True
        parts.append(bias)
    return torch.cat(parts) if biased else None


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
