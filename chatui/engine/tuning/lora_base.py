"""The options of a training run, and its base with a trainable LoRA of peft."""

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
"""Default target modules by family, as used in 2023; all other families use the LLaMA family's."""


@dataclass(frozen=True)
class TuningOptions:
    """The options of a training run.

    Attributes:
        rank, alpha, dropout: the LoRA's (arXiv:2106.09685); its scaling is alpha / rank.
        targets: names of the modules to adapt; empty for the family's attention.
        learning_rate: maximum learning rate, after a linear warm-up over the first 5 % of the
            steps; it then decays linearly to 0.
        batch: examples per step.
        epochs: number of passes over the examples.
        seed: seed of the examples' order and the dropout.
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
    """Load the network of ``spec`` in a form that peft can train.

    Adapters are merged into the weights, or applied beside packed weights.

    Returns:
        The network in evaluation mode, on its device; its family; notes for the user.

    Raises:
        ChatuiError: the model cannot be loaded, is an RWKV or GGUF model, or was quantised by
            another program.
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
    """Wrap ``model`` in a ``PeftModel`` in which only the LoRA is trained.

    Args:
        base: the base's name for the adapter's config.

    Raises:
        ChatuiError: peft is not installed, or a target module does not exist.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ChatuiError(say("tune.no_peft")) from error
    targets = options.targets or _TARGETS.get(family, _ATTENTION)
    names = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    missing = [target for target in targets if target not in names]
    if missing:
        known = ", ".join(sorted(names - {"lm_head"}))
        raise ChatuiError(say("tune.no_target", target=missing[0], names=known))
    for module in model.modules():
        if isinstance(module, QuantisedConv1D):
            # peft reads a Conv1D's sizes from this attribute of DeepSpeed.
            module.weight.ds_shape = (module.nx, module.nf)
    # peft writes this name to the adapter's config.
    model.name_or_path = base
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(targets),
        fan_in_fan_out=family == "gpt2",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)
