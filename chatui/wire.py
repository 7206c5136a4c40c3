"""Encode messages as lines of JSON for the engine's pipe."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import msgspec

from chatui.messages import Event, GenerateRequest, ModelSpec


@dataclass(frozen=True)
class Load:
    """Load a model, replacing the current one."""

    spec: ModelSpec


@dataclass(frozen=True)
class Generate:
    """Answer a request."""

    request: GenerateRequest


@dataclass(frozen=True)
class Inspect:
    """Return the prompt of a request and the ``top`` best next tokens."""

    request: GenerateRequest
    top: int = 8


@dataclass(frozen=True)
class Score:
    """Return the log probabilities of the request's partial reply."""

    request: GenerateRequest


@dataclass(frozen=True)
class Stop:
    """Stop the running reply."""


@dataclass(frozen=True)
class Quit:
    """End the process."""


Command: TypeAlias = Load | Generate | Inspect | Score | Stop | Quit
Message: TypeAlias = Command | Event

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Message)}


def encode(message: Message) -> bytes:
    """Return a message as a line of ASCII JSON; lone surrogates become escapes."""
    fields: dict[str, Any] = msgspec.to_builtins(message)
    return json.dumps({"kind": type(message).__name__, **fields}).encode("ascii") + b"\n"


def decode(line: bytes) -> Message:
    """Return the message of a line.

    Raises:
        ValueError: the line is not a message.
    """
    fields = json.loads(line)
    if not isinstance(fields, dict) or fields.get("kind") not in _KINDS:
        raise ValueError(f"not a message: {line[:80]!r}")
    message: Message = msgspec.convert(fields, _KINDS[fields.pop("kind")])
    return message
