"""Read transcripts of version 1, a single JSON object.

::

    {"format": "chatui-transcript", "version": 1,
     "conversation": {"title": …, "created_at": …, "updated_at": …, "head": 3},
     "rounds": [{"id": 1, "parent": null, "query": …, "reply": …, "state": "done", …,
                 "pieces": [[at_seconds, text, token_id, logprob], …]}, …]}

A parent stands before its children.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

from chatui.conversation.rounds import (
    Conversation,
    Epoch,
    Piece,
    Round,
    Seconds,
    Transcript,
    path_to,
)
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.validation_errors import describe_error


def transcript_from_version_1(raw: Mapping[str, Any], name: str) -> Transcript:
    """Return the transcript in the object of a file; its conversation's id is 0.

    A round that was streaming when the file was written becomes "interrupted".

    Args:
        name: the file's name, for error messages.

    Raises:
        ChatuiError: the object is not a transcript of this version.
    """
    try:
        return _checked(msgspec.convert(raw, _File))
    except (msgspec.ValidationError, _Inconsistent, UnicodeError) as error:
        # msgspec encodes keys as UTF-8, so a lone surrogate in one is a UnicodeError.
        sentence = say("conversation.damaged_transcript", path=name, reason=describe_error(error))
        raise ChatuiError(sentence) from error


@dataclass(frozen=True)
class _FileConversation:
    title: str
    created_at: Epoch
    updated_at: Epoch
    head: int | None


@dataclass(frozen=True)
class _FileRound:
    """The keys of a round that are not fields of :class:`Round`."""

    parent: int | None
    pieces: list[tuple[Seconds, str, int, float | None]] = field(default_factory=list)


@dataclass(frozen=True)
class _File:
    version: Literal[1]
    conversation: _FileConversation
    rounds: list[dict[str, Any]]


_FIXED_FIELDS = {"conversation_id": 0, "version": 1, "versions": 1}


class _Inconsistent(Exception):
    """Parts of a file contradict each other."""


def _checked(file: _File) -> Transcript:
    rounds: dict[int, Round] = {}
    pieces = {}
    for raw in file.rounds:
        extra = msgspec.convert(raw, _FileRound)
        one = msgspec.convert({**raw, **_FIXED_FIELDS, "parent_id": extra.parent}, Round)
        if one.id in rounds:
            raise _Inconsistent(say("conversation.round_twice", id=one.id))
        if one.parent_id is not None and one.parent_id not in rounds:
            raise _Inconsistent(say("conversation.no_parent", id=one.id, parent=one.parent_id))
        was_streaming = one.state == "streaming"
        rounds[one.id] = replace(one, state="interrupted") if was_streaming else one
        pieces[one.id] = tuple(Piece(*values) for values in extra.pieces)
    about = file.conversation
    if about.head is not None and about.head not in rounds:
        raise _Inconsistent(say("conversation.no_head", id=about.head))
    depth = len(path_to(rounds, about.head))
    conversation = Conversation(
        0, about.title, about.created_at, about.updated_at, depth, about.head
    )
    return Transcript(conversation, tuple(rounds.values()), pieces)
