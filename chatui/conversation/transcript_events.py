"""The lines of a transcript: a header, then events; each is a JSON object with a type and a time.

Times (``t``) are seconds since the header's ``start``, rounded to microseconds. Lone surrogates and
control characters are written as JSON escapes, so printing the file on a terminal is safe. (JSON
reads a high surrogate directly before a low one as a single character.)

Version 1 was a single object. A parent stands before its children::

    {"format": "chatui-transcript", "version": 1,
     "conversation": {"title": …, "created_at": …, "updated_at": …, "head": 3},
     "rounds": [{"id": 1, "parent": null, "query": …, "reply": …, "state": "done", …,
                 "pieces": [[at_seconds, text, token_id, logprob], …]}, …]}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
from msgspec import field

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
    """An event in a round; the attributes are named as those of :class:`Round`."""

    t: float
    round: int


class QueryEvent(Event, frozen=True):
    """A round begins."""

    parent_id: int | None = field(name="parent")
    query: str = field(name="text")
    started_at: Epoch | None = None
    model: str = ""
    format: str = ""
    sampling: dict[str, Any] = {}
    seed: int | None = None


class PromptEvent(Event, frozen=True):
    """The model has read the prompt of a round."""

    prompt_tokens: Count = field(name="tokens", default=0)
    reused_tokens: Count = field(name="reused", default=0)
    dropped_rounds: Count = 0
    hash: str | None = None


class TokenEvent(Event, frozen=True):
    """A token of the reply."""

    text: str
    token_id: int = field(name="id", default=-1)
    logprob: float | None = None
    alternatives: tuple[tuple[int, str, float], ...] = ()


class StopEvent(Event, frozen=True):
    """The end of a reply."""

    state: Literal["done", "stopped", "failed", "interrupted"]
    seconds: Seconds | None = None
    output_tokens: Count = 0
    finish_reason: str | None = field(name="reason", default=None)
    seed: int | None = None
    error: str | None = None
    reply: str | None = None


class EditEvent(Event, frozen=True):
    """The user wrote this round's reply to replace that of round ``of``."""

    corrects_id: int = field(name="of")


class RatingEvent(Event, frozen=True):
    """The user rated the reply."""

    rating: Rating


class NoteEvent(Event, frozen=True):
    """The user's note on the reply; "" removes it."""

    note: str = field(name="text")


class BranchEvent(Event, frozen=True):
    """The user switched to the branch that ends with this round."""


class OtherEvent(msgspec.Struct, frozen=True):
    """An event of any other type."""

    t: float
    type: str


class _ConversationOfVersion1(msgspec.Struct):
    title: str
    created_at: Epoch
    updated_at: Epoch
    head: int | None


class _RoundOfVersion1(msgspec.Struct):
    """The keys of a round that are not those of its events."""

    id: int
    query: str
    finish_reason: str | None = None
    prompt_tokens: int = 0
    reused_tokens: int = 0
    started_at: Epoch = 0.0
    seconds: Seconds = 0.0
    state: str = "streaming"
    pieces: list[tuple[Seconds, str, int, float | None]] = []


def lines_from_version_1(file: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Convert a transcript of version 1 to the header and the events of version 2.

    Raises:
        msgspec.ValidationError, UnicodeError: a value is missing or has a wrong type.
    """
    about = msgspec.convert(file.get("conversation"), _ConversationOfVersion1)
    start = about.created_at
    yield {**file, **msgspec.structs.asdict(about), "version": VERSION, "start": start}
    for raw in msgspec.convert(file.get("rounds"), list[dict[str, Any]]):
        each = msgspec.convert(raw, _RoundOfVersion1)
        began = each.started_at - start
        event = {**raw, "round": each.id, "t": began}
        yield {**event, "type": "query", "text": each.query}
        tokens = {"tokens": each.prompt_tokens, "reused": each.reused_tokens}
        yield {**event, "type": "prompt", **tokens}
        for at, text, id, logprob in each.pieces:
            token = {"text": text, "id": id, "logprob": logprob}
            yield {"type": "token", "round": each.id, "t": began + at, **token}
        if each.state != "streaming":
            end = {"t": began + each.seconds, "reason": each.finish_reason}
            yield {**event, "type": "stop", **end}
    if about.head is not None:
        yield {"type": "branch", "round": about.head, "t": about.updated_at - start}
