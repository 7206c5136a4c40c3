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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from chatui import __version__
from chatui.conversation.rounds import (
    Conversation,
    Count,
    Piece,
    Rating,
    Round,
)
from chatui.conversation.transcript_version_1 import FORMAT
from chatui.text import escape_json

VERSION = 2

DIGITS = 6
"""Of times: microseconds, as in the store."""


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


def to_line(event: Mapping[str, Any]) -> str:
    """An event as a line of the file."""
    try:
        text = msgspec.json.encode(event).decode()
    except UnicodeError:
        # A lone surrogate, which only Python's own encoder writes.
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return escape_json(text) + "\n"


def header(conversation: Conversation, start: float) -> dict[str, Any]:
    """The first line; ``start`` in seconds since the epoch."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "chatui": __version__,
        "start": start,
        "title": conversation.title,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
    } | {
        name: value
        for name in ("pinned", "archived", "tags")
        if (value := getattr(conversation, name))
    }


def query(begun: Round, number: int, parent: int | None, t: float) -> dict[str, Any]:
    """A round begins."""
    event = _event("query", t, number, parent=parent, text=begun.query)
    event["started_at"] = begun.started_at
    if begun.model:
        event["model"] = begun.model
    if begun.format:
        event["format"] = begun.format
    if begun.sampling:
        event["sampling"] = {key: _finite(value) for key, value in begun.sampling.items()}
    if begun.seed is not None and begun.state == "streaming":
        event["seed"] = begun.seed
    return event


def prompt(
    number: int, t: float, tokens: int, reused: int, mark: PromptMark | None
) -> dict[str, Any]:
    """The model has read the prompt of a round."""
    event = _event("prompt", t, number, tokens=tokens)
    if reused:
        event["reused"] = reused
    if mark is not None:
        event |= {"dropped_rounds": mark.dropped_rounds, "hash": mark.hash}
    return event


def token(piece: Piece, number: int, began: float) -> dict[str, Any]:
    """A token of a reply; ``began`` is the time of its round."""
    event = _event("token", began + piece.at_seconds, number, text=piece.text)
    if piece.token_id != -1:
        event["id"] = piece.token_id
    if piece.logprob is not None and math.isfinite(piece.logprob):
        event["logprob"] = piece.logprob
    if piece.alternatives:
        event["alternatives"] = piece.alternatives
    return event


def stop(ended: Round, number: int, t: float, said: str) -> dict[str, Any]:
    """A reply is over; ``said`` is what its tokens spell."""
    event = _event("stop", t, number, state=ended.state, seconds=ended.seconds)
    event["output_tokens"] = ended.output_tokens
    if ended.finish_reason is not None:
        event["reason"] = ended.finish_reason
    if ended.seed is not None:
        event["seed"] = ended.seed
    if ended.error is not None:
        event["error"] = ended.error
    if ended.reply != said:
        event["reply"] = ended.reply
    return event


def edit(number: int, t: float, of: int) -> dict[str, Any]:
    """The user writes the reply, in place of that of round ``of``."""
    return _event("edit", t, number, of=of)


def rating(number: int, t: float, rating: Rating) -> dict[str, Any]:
    """The user rates a reply."""
    return _event("rating", t, number, rating=rating)


def note(number: int, t: float, text: str) -> dict[str, Any]:
    """The user notes something on a reply; "" takes the note away."""
    return _event("note", t, number, text=text)


def branch(number: int, t: float) -> dict[str, Any]:
    """The path that is looked at ends with another round."""
    return _event("branch", t, number)


def _event(type: str, t: float, number: int, **more: Any) -> dict[str, Any]:
    return {"t": round(t, DIGITS), "type": type, "round": number} | more


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
