"""A preset of the user's own, saved from the model in use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chatui import locations
from chatui.catalog import library
from chatui.catalog.schema import NAME
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.sampling import DEFAULTS, SETTINGS
from chatui.text import in_quotes, one_line

_PLAIN = ("family", "format", "context_limit", "context", "reply_reserve", "system", "think")


def save_preset(name: str, spec: ModelSpec) -> Path:
    """Write ``presets/NAME.toml`` in the settings' folder; ``--model NAME`` then takes it.

    Raises:
        ChatuiError: the name is not one of a preset or is taken, the model runs on a server, or the
            file cannot be written.
    """
    shown = in_quotes(one_line(name, 60))
    if spec.backend == "openai":
        raise ChatuiError(say("catalog.own.server"))
    if not NAME.fullmatch(name) or len(name) > 60:
        raise ChatuiError(say("catalog.own.name", name=shown))
    file = locations.user_presets_folder() / f"{name}.toml"
    if file.exists() or library.find(name) is not None:
        raise ChatuiError(say("catalog.own.taken", name=shown))
    text = _toml(spec)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ChatuiError(say("catalog.own.unwritable", path=file, reason=reason)) from error
    try:
        library.read_users(file)
    except ChatuiError:
        file.unlink(missing_ok=True)
        raise
    return file


def _toml(spec: ModelSpec) -> str:
    lines = [f"backend = {_value(spec.backend)}", f"base = {_part(spec.path)}"]
    lines += [
        f"{name} = {_value(value)}"
        for name in _PLAIN
        if (value := getattr(spec, name, None)) is not None
    ]
    lines += [
        f"{name} = {_part(path)}"
        for name in ("tokenizer", "delta")
        if (path := getattr(spec, name))
    ]
    if spec.adapters:
        parts = [
            _part(each.path, scale=each.scale, rank=each.rank, alpha=each.alpha)
            for each in spec.adapters
        ]
        lines.append(f"adapters = [{', '.join(parts)}]")
    for name in ("stop_strings", "eos_ids"):
        if values := getattr(spec, name):
            lines.append(f"{name} = [{', '.join(map(_value, values))}]")
    if spec.dtype != "auto":
        lines.append(f"dtype = {_value(spec.dtype)}")
    lines.append("\n[sampling]")
    lines += [
        f"{name} = {_value(value)}"
        for name in SETTINGS
        if (value := getattr(spec.sampling, name)) != getattr(DEFAULTS, name)
    ]
    return "\n".join(lines) + "\n"


def _part(path: str, **more: Any) -> str:
    values = {"path": path, **{name: value for name, value in more.items() if value is not None}}
    return "{ " + ", ".join(f"{name} = {_value(value)}" for name, value in values.items()) + " }"


def _value(value: Any) -> str:
    """A value in TOML, which writes texts, numbers and truths as JSON does."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
