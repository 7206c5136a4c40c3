"""Find the family of a model by its config, and the prompt format of a family."""

from __future__ import annotations

from typing import Any

CHAT_TEMPLATE = "chat-template"
"""Name of the prompt format of a model's own chat template."""

_FORMATS = {
    "bloom": "bloomz",
    "chatglm": "chatglm-6b",
    "gpt2": "gpt2-chinese",
    "llama": "alpaca:article",
    "moss": "moss",
    "rwkv": "chatrwkv",
}
_DEFAULT_FORMAT = "bloomz"

_WITHOUT_TEMPLATE = ("chatglm", "moss", "rwkv")
"""Families that use their own format even if their files include a chat template."""

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
    """Return the name of the prompt format of a model without a preset."""
    if has_chat_template and family not in _WITHOUT_TEMPLATE:
        return CHAT_TEMPLATE
    return _FORMATS.get(family, _DEFAULT_FORMAT)


def first_class(config: dict[str, Any]) -> str:
    """Return the first name in a config's ``architectures``; "" without any."""
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list | tuple) and names else ""


def model_type_of(config: dict[str, Any]) -> str:
    """Return a config's ``model_type``, else the family of its class; "" if unknown."""
    found = config.get("model_type") or _BY_CLASS.get(first_class(config))
    return found if isinstance(found, str) else ""
