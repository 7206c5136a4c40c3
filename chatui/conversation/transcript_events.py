"""The lines of a transcript: a header, then events; each is a JSON object with a type and a time.

Times (``t``) are seconds since the header's ``start``, rounded to microseconds. Lone surrogates and
control characters are written as JSON escapes, so printing the file on a terminal is safe. (JSON
reads a high surrogate directly before a low one as a single character.)
"""

from __future__ import annotations

import json
from typing import Any, Literal

import msgspec

from chatui.conversation.rounds import Count, Epoch, Rating, Seconds
from chatui.text import escape_json

FORMAT = "chatui-transcript"
VERSION: Literal[2] = 2

DIGITS = 6
"""Decimal places of times, as in the store."""


class Header(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first line; ``start`` in seconds since the epoch."""

    format: str
    version: Literal[2]
    start: Epoch
    chatui: str = ""
    title: str = ""
    created_at: Epoch | None = None
    updated_at: Epoch | None = None
    pinned: bool = False
    archived: bool = False
    tags: tuple[str, ...] = ()


def to_line(event: object) -> str:
    """Return the header or an event as a line of the file."""
    try:
        text = msgspec.json.encode(event).decode()
    except UnicodeError:
        # Only Python's own encoder writes lone surrogates.
        text = json.dumps(msgspec.to_builtins(event), ensure_ascii=False, separators=(",", ":"))
    return escape_json(text) + "\n"


class Event(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    tag_field="type",
    tag=lambda name: name.removesuffix("Event").lower(),
):
    """An event in a round."""

    t: float
    round: int


class QueryEvent(Event, frozen=True):
    """A round begins."""

    parent: int | None
    text: str
    started_at: Epoch | None = None
    model: str = ""
    format: str = ""
    sampling: dict[str, Any] = {}
    seed: int | None = None


class PromptEvent(Event, frozen=True):
    """The model has read the prompt of a round."""

    tokens: Count = 0
    reused: Count = 0
    dropped_rounds: Count = 0
    hash: str | None = None


class TokenEvent(Event, frozen=True):
    """A token of the reply."""

    text: str
    id: int = -1
    logprob: float | None = None
    alternatives: tuple[tuple[int, str, float], ...] = ()


class StopEvent(Event, frozen=True):
    """The end of a reply."""

    state: Literal["done", "stopped", "failed", "interrupted"]
    seconds: Seconds | None = None
    output_tokens: Count = 0
    reason: str | None = None
    seed: int | None = None
    error: str | None = None
    reply: str | None = None


class EditEvent(Event, frozen=True):
    """The user wrote this round's reply to replace that of round ``of``."""

    of: int


class RatingEvent(Event, frozen=True):
    """The user rated the reply."""

    rating: Rating


class NoteEvent(Event, frozen=True):
    """The user's note on the reply; "" removes it."""

    text: str


class BranchEvent(Event, frozen=True):
    """The user switched to the branch that ends with this round."""


class OtherEvent(msgspec.Struct, frozen=True):
    """An event of any other type."""

    t: float
    type: str
