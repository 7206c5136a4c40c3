"""What a training run is given: its options, and a base with a trainable LoRA on it, by peft."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class TuningOptions:
    """What a run depends on, beside the base and the examples.

    Attributes:
        rank, alpha, dropout: of the LoRA (arXiv:2106.09685); its scaling is alpha / rank.
        targets: modules that are adapted; empty takes the family's attention.
        learning_rate: the highest; it rises over the first twentieth of the steps and then falls
            to 0 in a straight line.
        batch: examples a step.
        epochs: how often each example is read.
        seed: of the order and the dropout.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    targets: tuple[str, ...] = ()
    learning_rate: float = 2e-4
    batch: int = 8
    epochs: int = 3
    seed: int = 0


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
    model = loading.load_for_tuning(plan, lambda _: None)
    quantiser = getattr(model, "hf_quantizer", None)
    if quantiser and not getattr(quantiser.quantization_config, "dequantize", False):
        raise ChatuiError(say("tune.packed", name=spec.name))
    return model, plan.family, (*spec.notes, *plan.placement.notes, *plan.adapters.notes)


def add_lora(model: Any, family: str, options: TuningOptions, base: str = "") -> Any:
    """``model`` as a ``PeftModel`` whose LoRA alone is trained.

    Args:
        base: what the adapter says that it was made for.

    Raises:
        ChatuiError: peft is not installed, or there is no such module.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ChatuiError(say("tune.no_peft")) from error
    wanted = options.targets or _TARGETS.get(family, _ATTENTION)
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
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(wanted),
        fan_in_fan_out=family == "gpt2",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D)
