"""Which family a folder of weights belongs to, and which prompt format goes with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chatui.errors import ChatuiError
from chatui.locales import say

# The format a family speaks where neither the preset nor the tokenizer says.
_FORMATS = {
    "chatglm": "chatglm-6b",
    "moss": "moss",
    "bloom": "bloomz",
    "llama": "alpaca:article",
    "gpt2": "gpt2-chinese",
}


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``.

    Raises:
        ChatuiError: it cannot be read or is none.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ChatuiError(say("engine.unreadable", file=file, reason=error)) from error
    if not isinstance(value, dict):
        raise ChatuiError(say("engine.unreadable", file=file, reason="not a JSON object"))
    return value


def family_of(config: dict[str, Any]) -> str:
    """The family's name: the config's ``model_type``."""
    return str(config.get("model_type") or "")


def format_of(family: str, *, has_chat_template: bool) -> str:
    """The name of the prompt format for a family."""
    if has_chat_template:
        return "chat-template"
    return _FORMATS.get(family, "bloomz")
