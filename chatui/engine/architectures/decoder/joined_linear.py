"""Linear layers that read the same states, joined into one product if their weights allow it."""

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
    if all(_is_int8(module) for module in modules):
        return _int8_projection(modules)
    if not all(_is_plain(module) for module in modules):
        return _concatenated([forward_of(module) for module in modules])
    weight = _joined_weight(modules, move=move)
    if weight is None:
        return _concatenated([projection(module) for module in modules])
    bias = _joined_bias(modules)
    if not any(_lora_hooks(module) for module in modules):
        return lambda states: linear(states, weight, bias)
    down, up = _joined_lora(modules)

    def adapted(states: Tensor) -> Tensor:
        return torch.addmm(linear(states, weight, bias), functional.linear(states, down), up.T)

    return adapted


def _concatenated(parts: Sequence[Projection]) -> Projection:
    if len(parts) == 1:
        return parts[0]
    return lambda states: torch.cat([part(states) for part in parts], dim=-1)


def forward_of(module: Any) -> Callable[..., Any]:
    """Return ``module.forward``, which is faster to call, or the module itself if it has hooks."""
    hooked = module._forward_hooks or module._forward_pre_hooks
    called: Callable[..., Any] = module if hooked else module.forward
    return called


def _is_plain(module: Any) -> bool:
    """True for a linear layer with an unpacked weight and no hook except one LoRA hook."""
    return (
        type(module) in (nn.Linear, FastLinear)
        and not module._forward_pre_hooks
        and len(_lora_hooks(module)) == len(module._forward_hooks) <= 1
        and module.weight.is_contiguous()
    )


def _is_int8(module: Any) -> bool:
    """True for a linear layer that uses an ``Int8Weight`` and has no hooks."""
    hooked = module._forward_pre_hooks or module._forward_hooks
    uses_int8 = getattr(module, "int8_weight", None) is not None and module.weight.numel() == 0
    return uses_int8 and not hooked


def _int8_projection(modules: Sequence[Any]) -> Projection:
    weights = [module.int8_weight for module in modules]
    biases = [module.bias for module in modules]
    if all(bias is None for bias in biases):
        return lambda states: products(states, weights)
    joined = torch.cat(
        [
            torch.zeros(len(weight)) if bias is None else bias.detach().float()
            for weight, bias in zip(weights, biases, strict=True)
        ]
    )
    return lambda states: products(states, weights) + joined.to(states.dtype)


def _lora_hooks(module: Any) -> list[LoraHook]:
    return [hook for hook in module._forward_hooks.values() if isinstance(hook, LoraHook)]


def _joined_lora(modules: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Join the modules' LoRA pairs: ``[Σ rank, in]`` and block-diagonal ``[Σ out, Σ rank]``."""
    downs, ups = [], []
    for module in modules:
        outputs, inputs = module.weight.shape
        pair = next(iter(_lora_hooks(module)), None)
        downs.append(module.weight.new_empty((0, inputs)) if pair is None else pair.down)
        ups.append(module.weight.new_empty((outputs, 0)) if pair is None else pair.up)
    up: Tensor = torch.block_diag(*ups)  # type: ignore[no-untyped-call]
    return torch.cat(downs), up


def _joined_bias(modules: Sequence[Any]) -> Tensor | None:
    """Join the biases of layers and LoRA pairs in a copy, ``[Σ out]``; None if there are none."""
    parts, biased = [], False
    for module in modules:
        bias = module.weight.new_zeros(module.weight.shape[0])
        for more in (module.bias, *(pair.bias for pair in _lora_hooks(module))):
            if more is not None:
                bias, biased = bias + more.detach(), True
        parts.append(bias)
    return torch.cat(parts) if biased else None


def _joined_weight(modules: Sequence[Any], *, move: bool) -> Tensor | None:
    """Return the modules' weights as one tensor that shares their memory, ``[Σ rows, in]``.

    Returns None if they are not adjacent and cannot be moved.
    """
    tensors: list[Tensor] = [module.weight.detach() for module in modules]
    first = tensors[0]
    rows = sum(tensor.shape[0] for tensor in tensors)
    storage, address = first.untyped_storage().data_ptr(), first.data_ptr()
    adjacent = True
    for tensor in tensors:
        same = tensor.untyped_storage().data_ptr() == storage and tensor.dtype == first.dtype
        adjacent = adjacent and same and tensor.data_ptr() == address
        address += tensor.nbytes
    if adjacent:
        return first.as_strided((rows, first.shape[1]), (first.shape[1], 1))
    if not move or len({(tensor.dtype, tensor.device) for tensor in tensors}) > 1:
        return None
    whole, end = torch.cat(tensors), 0
    for module, tensor in zip(modules, tensors, strict=True):
        start, end = end, end + tensor.shape[0]
        module.weight = nn.Parameter(whole[start:end], requires_grad=False)
    return whole
