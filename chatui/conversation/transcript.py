"""A conversation as a file, and its replay: JSON with rounds, pieces of replies and their timing.

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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec

from chatui.conversation.rounds import Conversation, Epoch, Piece, Round, Seconds
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import escape_json

FORMAT = "chatui-transcript"
VERSION = 1


@dataclass(frozen=True)
class Transcript:
    """A whole conversation.

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
        by_id = {each.id: each for each in self.rounds}
        path: list[Round] = []
        step = self.conversation.head_id
        while step is not None:
            path.append(by_id[step])
            step = by_id[step].parent_id
        return tuple(reversed(path))


def of_store(store: Store, conversation_id: int) -> Transcript:
    """The transcript of a saved conversation."""
    return Transcript(*store.whole(conversation_id))


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
    numbers = {each.id: number for number, each in enumerate(transcript.rounds, 1)}
    conversation = transcript.conversation
    about = {
        "title": conversation.title,
        "created_at": conversation.created_at,
        "updated_at": conversation.updated_at,
        "head": None if conversation.head_id is None else numbers[conversation.head_id],
    }
    lines = []
    for each in transcript.rounds:
        parent = None if each.parent_id is None else numbers[each.parent_id]
        values: dict[str, Any] = {"id": numbers[each.id], "parent": parent}
        values |= {name: getattr(each, name) for name in _KEPT}
        values["sampling"] = {key: _finite(value) for key, value in each.sampling.items()}
        values["pieces"] = [
            [round(piece.at_seconds, 6), piece.text, piece.token_id, _finite(piece.logprob)]
            for piece in transcript.pieces.get(each.id, ())
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


@dataclass(frozen=True)
class _FileConversation:
    title: str
    created_at: Epoch
    updated_at: Epoch
    head: int | None


@dataclass(frozen=True)
class _FileRound:
    """What a round of a file holds beside the fields of :class:`Round`."""

    parent: int | None
    pieces: list[tuple[Seconds, str, int, float | None]] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    version: Literal[1]
    conversation: _FileConversation
    rounds: list[dict[str, Any]]


_LINKS = {"conversation_id": 0, "version": 1, "versions": 1}
_KEPT = [each.name for each in fields(Round) if each.name not in {"id", "parent_id", *_LINKS}]


class _Inconsistent(Exception):
    """The parts of a file do not fit together."""


def _checked(file: _File) -> Transcript:
    rounds: dict[int, Round] = {}
    depths: dict[int | None, int] = {None: 0}
    pieces = {}
    for raw in file.rounds:
        beside = msgspec.convert(raw, _FileRound)
        one = msgspec.convert({**raw, **_LINKS, "parent_id": beside.parent}, Round)
        if one.id in rounds:
            raise _Inconsistent(say("conversation.round_twice", id=one.id))
        if one.parent_id not in depths:
            raise _Inconsistent(say("conversation.no_parent", id=one.id, parent=one.parent_id))
        is_cut_off = one.state == "streaming"
        rounds[one.id] = replace(one, state="interrupted") if is_cut_off else one
        depths[one.id] = depths[one.parent_id] + 1
        pieces[one.id] = tuple(Piece(*values) for values in beside.pieces)
    about = file.conversation
    if about.head not in depths:
        raise _Inconsistent(say("conversation.no_head", id=about.head))
    conversation = Conversation(
        0, about.title, about.created_at, about.updated_at, depths[about.head], about.head
    )
    return Transcript(conversation, tuple(rounds.values()), pieces)


def _parse(data: bytes, name: str) -> Any:
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        key = "truncated_transcript" if _is_cut_off(error) else "not_json"
        raise ChatuiError(say(f"conversation.{key}", path=name, reason=error)) from error


def _is_cut_off(error: Exception) -> bool:
    """Whether a file that is no JSON would be, if its end were there."""
    if isinstance(error, UnicodeDecodeError):
        return error.reason == "unexpected end of data"
    if not isinstance(error, json.JSONDecodeError):
        return False
    text = error.doc
    # The longest token that an end may cut, beside strings, is an escape: \\u and four digits.
    near_end = text.startswith("{") and error.pos >= len(text.rstrip()) - 6
    return near_end or not text.strip() or error.msg.startswith("Unterminated")


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(say("conversation.no_constant", name=constant))


def _to_json(value: object) -> str:
    return escape_json(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _finite(value: Any) -> Any:
    """JSON has no infinity and no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Playing a transcript

LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class ReplayStep:
    """One step of a replay.

    Attributes:
        wait_seconds: to wait before it, after the step before.
        kind: "query": a round begins; "piece": its reply grows; "end": it is over.
        text: the query; what the reply grows by; the whole reply as it was kept, which may differ
            from the pieces by the format's clean-up.
        round: the round it belongs to.
    """

    wait_seconds: float
    kind: Literal["query", "piece", "end"]
    text: str
    round: Round


def schedule(
    transcript: Transcript,
    speed: float = 1.0,
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
) -> Iterator[ReplayStep]:
    """The steps of a transcript from its first round to its head, in their own timing.

    A reply takes the time it took; what the user needed to read and type is cut short. A reply
    without pieces comes whole, after the time it took or the longest pause.

    Args:
        speed: 2 is twice as fast; ``math.inf`` never waits.
        longest_pause_seconds: between rounds, before ``speed`` is applied.

    Raises:
        ChatuiError: the speed is no number above 0.
    """
    if math.isnan(speed) or speed <= 0:
        raise ChatuiError(say("conversation.wrong_speed", speed=speed))
    return _steps(transcript, speed, longest_pause_seconds)


def _steps(transcript: Transcript, speed: float, longest_pause: float) -> Iterator[ReplayStep]:
    ended_at: float | None = None
    for each in transcript.path():
        gap = 0.0 if ended_at is None else each.started_at - ended_at
        yield ReplayStep(min(max(gap, 0.0), longest_pause) / speed, "query", each.query, each)
        now = 0.0
        pieces = transcript.pieces.get(each.id, ())
        for piece in pieces:
            wait = max(piece.at_seconds - now, 0.0)
            now += wait
            yield ReplayStep(wait / speed, "piece", piece.text, each)
        if not pieces and each.reply:
            now = each.seconds
            yield ReplayStep(min(now, longest_pause) / speed, "piece", each.reply, each)
        yield ReplayStep(max(each.seconds - now, 0.0) / speed, "end", each.reply, each)
        ended_at = each.started_at + max(each.seconds, now)
