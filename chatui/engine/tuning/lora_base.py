"""A base with a trainable LoRA on it, by peft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from chatui.engine import loading
from chatui.engine.architectures.rwkv.load_rwkv import RwkvPlan
from chatui.engine.quantised import QuantisedConv1D
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec

_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_TARGETS = {
    "chatglm": ("query_key_value",),
    "bloom": ("query_key_value",),
    "gpt2": ("c_attn",),
    "moss": ("qkv_proj",),
}
"""Modules of the attention by family, as the tuners of 2023 adapted them; else the LLaMA line's."""


def load_base(spec: ModelSpec) -> tuple[Any, str, tuple[str, ...]]:
    """The network of ``spec`` as peft can train on it, its adapters added to its weights.

    Packed weights stay packed, with the adapters beside them.

    Returns:
        The network in evaluation mode, on its device; its family; what the user should know.

    Raises:
        ChatuiError: it cannot be loaded, is an RWKV or GGUF, or was packed by another program.
    """
    if spec.backend != "local":
        raise ChatuiError(say("tune.not_torch", name=spec.name))
    plan = loading.plan_load(spec)
    if isinstance(plan, RwkvPlan):
        raise ChatuiError(say("tune.not_torch", name=spec.name))
    model = loading.load_plain(plan, lambda _: None)
    quantiser = getattr(model, "hf_quantizer", None)
    if quantiser and not getattr(quantiser.quantization_config, "dequantize", False):
        raise ChatuiError(say("tune.packed", name=spec.name))
    return model, plan.family, (*spec.notes, *plan.placement.notes, *plan.adapters.notes)


def with_lora(
    model: Any,
    family: str,
    *,
    rank: int,
    alpha: float,
    dropout: float,
    targets: Sequence[str] = (),
    base: str = "",
) -> Any:
    """``model`` as a ``PeftModel`` whose LoRA alone is trained.

    Args:
        targets: ends of the names of the modules to adapt; empty takes the family's.
        base: what the adapter says that it was made for.

    Raises:
        ChatuiError: peft is not installed, or there is no such module.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ChatuiError(say("tune.no_peft")) from error
    wanted = tuple(targets) or _TARGETS.get(family, _ATTENTION)
    linear = (name for name, module in model.named_modules() if _is_linear(module))
    names = {name.rpartition(".")[2] for name in linear}
    missing = [target for target in wanted if target not in names]
    if missing:
        known = ", ".join(sorted(names - {"lm_head"}))
        raise ChatuiError(say("tune.no_target", target=missing[0], names=known))
    for module in model.modules():
        if isinstance(module, QuantisedConv1D):
            # peft takes a Conv1D's sizes from here where its weight lies in parts, as DeepSpeed's.
            module.weight.ds_shape = (module.nx, module.nf)
    # peft takes the adapter's base from here.
    model.name_or_path = base
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=list(wanted),
        fan_in_fan_out=family == "gpt2",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D)
