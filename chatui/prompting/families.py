"""The family of a model by its config, and the prompt format of each family."""

from __future__ import annotations

from typing import Any

CHAT_TEMPLATE = "chat-template"
"""The name of the format that a model's own chat template makes."""

_FORMATS = {
    "bloom": "bloomz",
    "chatglm": "chatglm-6b",
    "gpt2": "gpt2-chinese",
    "llama": "alpaca:article",
    "moss": "moss",
    "rwkv": "chatrwkv",
}
_OTHERWISE = "bloomz"

_WITHOUT_TEMPLATE = ("chatglm", "moss", "rwkv")
"""Families whose prompt is their format's, even if later files came with a chat template."""

_BY_CLASS = {
    "MossForCausalLM": "moss",
    "LLaMAForCausalLM": "llama",
    "LlamaForCausalLM": "llama",
    "BloomForCausalLM": "bloom",
    "GPT2LMHeadModel": "gpt2",
    "ChatGLMModel": "chatglm",
    "ChatGLMForConditionalGeneration": "chatglm",
    "RwkvForCausalLM": "rwkv",
}


def format_of(family: str, *, has_chat_template: bool) -> str:
    """The name of the prompt format of a model whose preset names none."""
    if has_chat_template and family not in _WITHOUT_TEMPLATE:
        return CHAT_TEMPLATE
    return _FORMATS.get(family, _OTHERWISE)


def first_class(config: dict[str, Any]) -> str:
    """The first name in a config's ``architectures``; "" without any."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list | tuple) and names else ""


def model_type_of(config: dict[str, Any]) -> str:
    """A config's ``model_type``, else the family of its class; "" if neither is known."""
    found = config.get("model_type") or _BY_CLASS.get(first_class(config))
    return found if isinstance(found, str) else ""
