"""The lines of a transcript: a header and events, each a JSON object with its type and time.

Times (``t``) are seconds since the header's ``start``, to the microsecond. Lone surrogates and
control characters are written as JSON escapes, so that a terminal that shows the file does not obey
it. (A high surrogate directly before a low one is, by JSON's rules, read as the one character that
they spell.)
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import msgspec

from chatui import __version__
from chatui.conversation.rounds import (
    Conversation,
    Count,
    Epoch,
    Piece,
    Rating,
    Round,
    Seconds,
)
from chatui.conversation.transcript_version_1 import FORMAT
from chatui.text import escape_json

VERSION: Literal[2] = 2

DIGITS = 6
"""Of times: microseconds, as in the store."""


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


@dataclass(frozen=True)
class PromptMark:
    """What a transcript keeps of a prompt.

    Attributes:
        hash: "sha256:" and the digest of its text in UTF-8; "" if not known.
        dropped_rounds: how many of the oldest rounds did not fit and were left out.
    """

    hash: str = ""
    dropped_rounds: Count = 0


def mark_of(text: str, dropped_rounds: int) -> PromptMark:
    """The mark of a prompt."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return PromptMark(f"sha256:{digest}", dropped_rounds)


def to_line(event: object) -> str:
    """The header or an event as a line of the file."""
    try:
        text = msgspec.json.encode(event).decode()
    except UnicodeError:
        # A lone surrogate, which only Python's own encoder writes.
        text = json.dumps(msgspec.to_builtins(event), ensure_ascii=False, separators=(",", ":"))
    return escape_json(text) + "\n"


class Event(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    tag_field="type",
    tag=lambda name: name.removesuffix("Event").lower(),
):
    """What happened in a round."""

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
    """A reply grows."""

    text: str
    id: int = -1
    logprob: float | None = None
    alternatives: tuple[tuple[int, str, float], ...] = ()


class StopEvent(Event, frozen=True):
    """A reply is over."""

    state: Literal["done", "stopped", "failed", "interrupted"]
    seconds: Seconds | None = None
    output_tokens: Count = 0
    reason: str | None = None
    seed: int | None = None
    error: str | None = None
    reply: str | None = None


class EditEvent(Event, frozen=True):
    """The user writes the reply, in place of that of round ``of``."""

    of: int


class RatingEvent(Event, frozen=True):
    """The user rates a reply."""

    rating: Rating


class NoteEvent(Event, frozen=True):
    """The user notes something on a reply; "" takes the note away."""

    text: str


class BranchEvent(Event, frozen=True):
    """The path that is looked at ends with another round."""


class OtherEvent(msgspec.Struct, frozen=True):
    """An event that is no part of the rounds."""

    t: float
    type: str


AnyEvent = TypeVar("AnyEvent", bound=Event)


def event(kind: type[AnyEvent], t: float, number: int, *values: Any) -> AnyEvent:
    """An event at an exact time."""
    return kind(round(t, DIGITS), number, *values)


def header(conversation: Conversation, start: float) -> Header:
    """The first line; ``start`` in seconds since the epoch."""
    one = conversation
    times = one.created_at, one.updated_at
    return Header(
        FORMAT, VERSION, start, __version__, one.title, *times, one.pinned, one.archived, one.tags
    )


def query(begun: Round, number: int, parent: int | None, t: float) -> QueryEvent:
    """A round begins."""
    sampling = {key: _finite(value) for key, value in begun.sampling.items()}
    seed = begun.seed if begun.state == "streaming" else None
    about = begun.started_at, begun.model, begun.format
    return event(QueryEvent, t, number, parent, begun.query, *about, sampling, seed)


def prompt(number: int, t: float, tokens: int, reused: int, mark: PromptMark | None) -> PromptEvent:
    """The model has read the prompt of a round."""
    known = () if mark is None else (mark.dropped_rounds, mark.hash)
    return event(PromptEvent, t, number, tokens, reused, *known)


def token(piece: Piece, number: int, began: float) -> TokenEvent:
    """A token of a reply; ``began`` is the time of its round."""
    at, about = began + piece.at_seconds, (piece.text, piece.token_id, _finite(piece.logprob))
    return event(TokenEvent, at, number, *about, piece.alternatives)


def stop(ended: Round, number: int, t: float, said: str) -> StopEvent:
    """A reply is over; ``said`` is what its tokens spell."""
    end = ended.finish_reason, ended.seed, ended.error
    reply = None if ended.reply == said else ended.reply
    about = ended.state, ended.seconds, ended.output_tokens
    return event(StopEvent, t, number, *about, *end, reply)


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
