"""Messages as lines of JSON, for the engine's pipe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import msgspec

from chatui.messages import Event, GenerateRequest, ModelSpec


@dataclass(frozen=True)
class Load:
    """Load this model in place of the one that is loaded."""

    spec: ModelSpec


@dataclass(frozen=True)
class Generate:
    """Answer this request."""

    request: GenerateRequest


@dataclass(frozen=True)
class Inspect:
    """Say what the model would read for this request."""

    request: GenerateRequest
    top: int = 8


@dataclass(frozen=True)
class Score:
    """Say how probable the model finds the reply with which this request begins."""

    request: GenerateRequest


@dataclass(frozen=True)
class Stop:
    """End the running reply."""


@dataclass(frozen=True)
class Quit:
    """End the process."""


Command: TypeAlias = Load | Generate | Inspect | Score | Stop | Quit
Message: TypeAlias = Command | Event

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Message)}


def encode(message: Message) -> bytes:
    """One line of ASCII JSON, newline included; lone surrogates survive as escapes."""
    fields: dict[str, Any] = msgspec.to_builtins(message)
    return json.dumps({"kind": type(message).__name__, **fields}).encode("ascii") + b"\n"


def decode(line: bytes) -> Message:
    """The message of one line.

    Raises:
        ValueError: the line is no message (``msgspec.ValidationError`` and
            ``json.JSONDecodeError`` are ValueErrors too).
    """
    fields = json.loads(line)
    if not isinstance(fields, dict) or fields.get("kind") not in _KINDS:
        raise ValueError(f"not a message: {line[:80]!r}")
    message: Message = msgspec.convert(fields, _KINDS[fields.pop("kind")])
    return message
