"""Save the current model as one of the user's own presets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chatui import locations
from chatui.catalog import library
from chatui.catalog.schema import NAME, SPEC_FIELDS
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.sampling import DEFAULTS, SETTINGS
from chatui.text import in_quotes, one_line

_PARTS = {"base": "path", "tokenizer": "tokenizer", "delta": "delta"}
"""Parts of a preset -> the fields of a ModelSpec with their paths."""


def save_preset(name: str, spec: ModelSpec) -> Path:
    """Write ``presets/NAME.toml`` in the settings' folder, for ``--model NAME``.

    Raises:
        ChatuiError: the name is invalid or taken, the model runs on a server, or the file cannot be
            written.
    """
    shown = in_quotes(one_line(name, 60))
    if spec.backend == "openai":
        raise ChatuiError(say("catalog.own.server"))
    if not NAME.fullmatch(name) or len(name) > 60:
        raise ChatuiError(say("catalog.own.name", name=shown))
    file = locations.user_presets_folder() / f"{name}.toml"
    if file.exists() or library.find(name) is not None:
        raise ChatuiError(say("catalog.own.taken", name=shown))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(_toml(spec))
    except (OSError, UnicodeError) as error:
        raise ChatuiError(say("conversation.file_unwritable", path=file, reason=error)) from error
    try:
        library.read_user_preset(file)
    except ChatuiError:
        file.unlink(missing_ok=True)
        raise
    return file


def _toml(spec: ModelSpec) -> str:
    values = {name: getattr(spec, name) for name in SPEC_FIELDS}
    values |= {name: {"path": getattr(spec, field) or None} for name, field in _PARTS.items()}
    values["adapters"] = list(map(asdict, spec.adapters))
    values["dtype"] = spec.dtype if spec.dtype != "auto" else None
    sampling = {name: getattr(spec.sampling, name) for name in SETTINGS}
    chosen = {name: value for name, value in sampling.items() if value != getattr(DEFAULTS, name)}
    return "\n".join([*_pairs(values), "\n[sampling]", *_pairs(chosen)]) + "\n"


def _pairs(values: dict[str, Any]) -> Iterator[str]:
    """Yield ``name = value`` in TOML for each value that is not empty."""
    for name, value in values.items():
        if value not in (None, (), [], {"path": None}):
            yield f"{name} = {_value(value)}"


def _value(value: Any) -> str:
    """Format a value as TOML, whose strings, numbers and booleans are written as in JSON."""
    if isinstance(value, dict):
        return "{ " + ", ".join(_pairs(value)) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
