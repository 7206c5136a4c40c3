"""Linear layers that read the same states, joined into one product if their weights allow it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from chatui.engine.adapters.applied import LoraHook
from chatui.engine.int8_weight import products
from chatui.engine.linear import FastLinear, linear
from chatui.engine.quantised import shape_of

Projection: TypeAlias = Callable[[Tensor], Tensor]
"""States ``[rows, in]`` -> ``[rows, out]``."""


def norm_of(module: Any) -> Projection:
    """Return a norm's function; an RMS norm is one operation of PyTorch."""
    if not hasattr(module, "variance_epsilon"):
        return forward_of(module)
    weight, eps = module.weight.detach(), module.variance_epsilon
    shape = tuple(weight.shape)
    return lambda states: functional.rms_norm(states, shape, weight, eps)


def projection(*modules: Any, move: bool = False) -> Projection:
    """Return a function that concatenates the outputs of all ``modules`` for the same states.

    Plain layers with adjacent weights take one product, and two more for their LoRA pairs. Layers
    of other types are called one after another.

    Args:
        move: make the weights of plain layers adjacent in memory. Each layer keeps a view, so
            memory grows by one layer's weights only while they are moved.
    """
    if all(map(_is_int8, modules)):
        weights, joined = [module.int8_weight for module in modules], _joined_bias(modules)
        if joined is None:
            return lambda states: products(states, weights)
        return lambda states: products(states, weights) + joined.to(states.dtype)
    weight = _joined_weight(modules, move=move) if all(map(_is_plain, modules)) else None
    if weight is None:
        if len(modules) == 1:
            return forward_of(modules[0])
        parts = [projection(module) for module in modules]
        return lambda states: torch.cat([part(states) for part in parts], dim=-1)
    bias = _joined_bias(modules)
    if not any(map(_lora_of, modules)):
        return lambda states: linear(states, weight, bias)
    down, up = _joined_lora(modules)

    def adapted(states: Tensor) -> Tensor:
        return torch.addmm(linear(states, weight, bias), functional.linear(states, down), up.T)

    return adapted


def forward_of(module: Any) -> Callable[..., Any]:
    """Return ``module.forward``, which is faster to call, or the module itself if it has hooks."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    called: Callable[..., Any] = module if hooked else module.forward
    return called


def _is_plain(module: Any) -> bool:
    """True for a linear layer with an unpacked weight and no hook except one LoRA hook."""
    hooks = len(module._forward_hooks)
    return (
        type(module) in (nn.Linear, FastLinear)
        and not module._forward_pre_hooks
        and (hooks == 0 or (hooks == 1 and _lora_of(module) is not None))
        and module.weight.is_contiguous()
    )


def _is_int8(module: Any) -> bool:
    """True for a linear layer that uses an ``Int8Weight`` and has no hooks."""
    hooked = module._forward_pre_hooks or module._forward_hooks
    uses_int8 = getattr(module, "int8_weight", None) is not None and module.weight.numel() == 0
    return uses_int8 and not hooked


def _lora_of(module: Any) -> LoraHook | None:
    hooks = module._forward_hooks.values()
    return next((hook for hook in hooks if isinstance(hook, LoraHook)), None)


def _joined_lora(modules: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Join the modules' LoRA pairs: ``[Σ rank, in]`` and block-diagonal ``[Σ out, Σ rank]``."""
    downs, ups = [], []
    for module in modules:
        outputs, inputs = module.weight.shape
        pair = _lora_of(module)
        downs.append(module.weight.new_empty((0, inputs)) if pair is None else pair.down)
        ups.append(module.weight.new_empty((outputs, 0)) if pair is None else pair.up)
    up: Tensor = torch.block_diag(*ups)  # type: ignore[no-untyped-call]
    return torch.cat(downs), up


def _joined_bias(modules: Sequence[Any]) -> Tensor | None:
    """Join the biases of layers and LoRA pairs in a copy, ``[Σ out]``; None if there are none."""
    found = [(module.bias, getattr(_lora_of(module), "bias", None)) for module in modules]
    if all(bias is None for biases in found for bias in biases):
        return None
    parts = []
    for module, biases in zip(modules, found, strict=True):
        dtype = module.weight.dtype if module.weight.is_floating_point() else torch.float32
        total = torch.zeros(shape_of(module)[0], dtype=dtype, device=module.weight.device)
        parts.append(sum((bias.detach() for bias in biases if bias is not None), total))
    return torch.cat(parts)


def _joined_weight(modules: Sequence[Any], *, move: bool) -> Tensor | None:
    """Return the modules' weights as one tensor that shares their memory, ``[Σ rows, in]``.

    Returns None if they are not adjacent and cannot be moved.
    """
    tensors: list[Tensor] = [module.weight.detach() for module in modules]
    first = tensors[0]
    starts = accumulate((tensor.nbytes for tensor in tensors), initial=first.data_ptr())
    kinds = {(tensor.untyped_storage().data_ptr(), tensor.dtype) for tensor in tensors}
    if len(kinds) == 1 and [tensor.data_ptr() for tensor in tensors] == [*starts][:-1]:
        rows = sum(tensor.shape[0] for tensor in tensors)
        return first.as_strided((rows, first.shape[1]), (first.shape[1], 1))
    if not move or len({(tensor.dtype, tensor.device) for tensor in tensors}) > 1:
        return None
    whole = torch.cat(tensors)
    parts = torch.split(whole, [tensor.shape[0] for tensor in tensors])
    for module, part in zip(modules, parts, strict=True):
        module.weight = nn.Parameter(part, requires_grad=False)
    return whole
