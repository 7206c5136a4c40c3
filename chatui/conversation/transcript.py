"""A conversation as a file: JSON with the rounds, the pieces of their replies and their timing.

The file is one object::

    {"format": "chatui-transcript", "version": 1,
     "conversation": {"title": …, "created_at": …, "updated_at": …, "head": 3},
     "rounds": [{"id": 1, "parent": null, "query": …, "reply": …, "state": "done", …,
                 "pieces": [[at_seconds, text, token_id, logprob], …]}, …]}

Round ids count from 1 within the file; a parent stands before its children. Lone surrogates are
written as JSON escapes, and control characters too, so that a terminal that shows the file does not
obey it. (A high surrogate directly before a low one is, by JSON's rules, read as the one character
that they spell.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import msgspec

from chatui.conversation.files import write_whole
from chatui.conversation.rounds import Conversation, Piece, Round, State
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import escape_json

FORMAT = "chatui-transcript"
VERSION = 1


@dataclass(frozen=True)
class Transcript:
    """A conversation, whole.

    Attributes:
        conversation: its ``head_id`` is one of the rounds'.
        rounds: all versions, a parent before its children.
        pieces: by round id; a round may have none.
    """

    conversation: Conversation
    rounds: tuple[Round, ...]
    pieces: Mapping[int, tuple[Piece, ...]] = field(default_factory=dict)

    def path(self) -> tuple[Round, ...]:
        """The rounds from the first to the head."""
        by_id = {this.id: this for this in self.rounds}
        path: list[Round] = []
        step = self.conversation.head_id
        while step is not None:
            path.append(by_id[step])
            step = by_id[step].parent_id
        return tuple(reversed(path))


def of_store(store: Store, conversation_id: int) -> Transcript:
    """The transcript of a saved conversation."""
    rounds = store.tree(conversation_id)
    return Transcript(
        conversation=store.conversation(conversation_id),
        rounds=rounds,
        pieces={this.id: store.pieces(this.id) for this in rounds},
    )


def write(file: Path, transcript: Transcript) -> None:
    """Write a transcript; the file is whole or as it was before.

    Raises:
        ChatuiError: the file cannot be written.
    """
    write_whole(file, dumps(transcript))


def read(file: Path) -> Transcript:
    """Read a transcript.

    Raises:
        ChatuiError: the file cannot be read, or is no whole transcript of a version known here.
    """
    try:
        data = file.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ChatuiError(say("conversation.file_unreadable", path=file, reason=reason)) from error
    return loads(data, str(file))


def dumps(transcript: Transcript) -> str:
    """A transcript as text: a line for the conversation and one for each round."""
    numbers = {this.id: number for number, this in enumerate(transcript.rounds, 1)}
    conversation = transcript.conversation
    about = {
        "title": conversation.title,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
        "head": None if conversation.head_id is None else numbers[conversation.head_id],
    }
    lines = []
    for this in transcript.rounds:
        values: dict[str, Any] = {"id": numbers[this.id], "parent": None}
        if this.parent_id is not None:
            values["parent"] = numbers[this.parent_id]
        values |= {name: getattr(this, name) for name in _KEPT}
        values["sampling"] = {key: _finite(value) for key, value in this.sampling.items()}
        values["pieces"] = [
            [round(piece.at_seconds, 6), piece.text, piece.token_id, _finite(piece.logprob)]
            for piece in transcript.pieces.get(this.id, ())
        ]
        lines.append(_to_json(values))
    return (
        f'{{"format": {_to_json(FORMAT)}, "version": {VERSION},\n'
        f'"conversation": {_to_json(about)},\n"rounds": [\n' + ",\n".join(lines) + "\n]}\n"
    )


def loads(data: bytes, name: str) -> Transcript:
    """A transcript from the bytes of a file; conversation ids are 0.

    A round that was streaming when the file was written comes back as "interrupted".

    Args:
        data: UTF-8.
        name: the file's, for the sentence of an error.

    Raises:
        ChatuiError: see :func:`read`.
    """
    raw = _parse(data, name)
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ChatuiError(say("conversation.no_transcript", path=name))
    version = raw.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ChatuiError(
            say("conversation.newer_transcript", path=name, found=version, known=VERSION)
        )
    try:
        return _checked(msgspec.convert(raw, _File))
    except (msgspec.ValidationError, _Inconsistent, UnicodeError) as error:
        # msgspec encodes keys as UTF-8, so that a lone surrogate in one is a UnicodeError.
        sentence = say("conversation.damaged_transcript", path=name, reason=error)
        raise ChatuiError(sentence) from error


_Epoch = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e7)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


@dataclass(frozen=True)
class _FileConversation:
    title: str
    created_at: _Epoch
    updated_at: _Epoch
    head: int | None


@dataclass(frozen=True)
class _FileRound:
    id: int
    parent: int | None
    query: str
    reply: str
    state: State
    model: str = ""
    format: str = ""
    finish_reason: str | None = None
    seed: int | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    prompt_tokens: _Count = 0
    reused_tokens: _Count = 0
    output_tokens: _Count = 0
    started_at: _Epoch = 0.0
    seconds: _Seconds = 0.0
    error: str | None = None
    pieces: list[tuple[_Seconds, str, int, float | None]] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    format: str
    version: Literal[1]
    conversation: _FileConversation
    rounds: list[_FileRound]


_KEPT = tuple(
    each.name for each in fields(_FileRound) if each.name not in ("id", "parent", "pieces")
)


class _Inconsistent(Exception):
    """The parts of a file do not fit together."""


def _checked(file: _File) -> Transcript:
    seen: dict[int, int] = {}
    rounds = []
    for this in file.rounds:
        if this.id in seen:
            raise _Inconsistent(f"round {this.id} occurs twice")
        if this.parent is not None and this.parent not in seen:
            raise _Inconsistent(f"round {this.id} has no parent {this.parent} before it")
        seen[this.id] = 1 if this.parent is None else seen[this.parent] + 1
        kept = {name: getattr(this, name) for name in _KEPT}
        if this.state == "streaming":
            kept["state"] = "interrupted"
        rounds.append(Round(id=this.id, conversation_id=0, parent_id=this.parent, **kept))
    about = file.conversation
    if about.head is not None and about.head not in seen:
        raise _Inconsistent(f"there is no round {about.head} to end with")
    depth = 0 if about.head is None else seen[about.head]
    return Transcript(
        Conversation(0, about.title, about.created_at, about.updated_at, depth, about.head),
        tuple(rounds),
        {this.id: tuple(Piece(*values) for values in this.pieces) for this in file.rounds},
    )


def _parse(data: bytes, name: str) -> Any:
    try:
        text = data.decode("utf-8-sig")
        return json.loads(text, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        cut = error.reason == "unexpected end of data"
        key = "truncated_transcript" if cut else "not_json"
        raise ChatuiError(say(f"conversation.{key}", path=name, reason=error)) from error
    except json.JSONDecodeError as error:
        # The longest token that an end may cut, beside strings, is an escape: \\u and four digits.
        near_end = text.startswith("{") and error.pos >= len(text.rstrip()) - 6
        cut = near_end or not text.strip() or error.msg.startswith("Unterminated")
        key = "truncated_transcript" if cut else "not_json"
        raise ChatuiError(say(f"conversation.{key}", path=name, reason=error)) from error
    except (ValueError, RecursionError) as error:
        raise ChatuiError(say("conversation.not_json", path=name, reason=error)) from error


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _to_json(value: object) -> str:
    return escape_json(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
