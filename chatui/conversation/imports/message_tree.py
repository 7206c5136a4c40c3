"""A tree of messages, as most programs keep a conversation, made a tree of rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from chatui.conversation.dialogues import ROLES, InvalidRecord
from chatui.conversation.rounds import Conversation, Round, path_to
from chatui.conversation.transcript import Transcript
from chatui.locales import say

_LONGEST_REPLY_SECONDS = 3600.0
_LAST_SECOND = 1e11
"""Larger timestamps are milliseconds."""

Speaker: TypeAlias = Literal["user", "assistant"]


class ImportedMessage(msgspec.Struct, frozen=True):
    """What one speaker said.

    Attributes:
        id: unique in its conversation.
        parent: the message before it; None for a first one.
        role: None for what is no part of the talk; the messages after it are.
        text: what was said.
        at: seconds since the epoch; 0 if not known.
        model: who replied; "" if not known.
    """

    id: str
    parent: str | None
    role: Speaker | None
    text: str = ""
    at: float = 0.0
    model: str = ""


@dataclass(frozen=True)
class ImportedConversation:
    """A conversation, and how many of its messages could not be read."""

    transcript: Transcript
    unread: int = 0


class _OpenRound(msgspec.Struct, frozen=True):
    """A round while its messages are walked through.

    Attributes:
        parent: number of the round before it.
        query: None as long as nobody asked.
        last: the last message of its reply.
    """

    parent: int | None = None
    query: str | None = None
    replies: tuple[str, ...] = ()
    asked_at: float = 0.0
    replied_at: float = 0.0
    model: str = ""
    last: str = ""


RawMessage: TypeAlias = tuple[str, "str | None", Any]
"""Id and parent of a message, and the message as its program keeps it."""


def conversation_of_raw(
    nodes: Iterable[RawMessage],
    parse_message: Callable[[str, str | None, Any], ImportedMessage],
    *,
    unread: int = 0,
    **about: Any,
) -> ImportedConversation:
    """Rounds of messages as another program keeps them.

    One that cannot be read is counted, and those that follow it stay.

    Args:
        nodes: in the order of their versions.
        parse_message: reads one; may raise AttributeError, KeyError, TypeError and InvalidRecord.
        unread, about: as :func:`conversation_of` takes them.

    Raises:
        InvalidRecord: there is no message to keep.
    """
    messages: list[ImportedMessage] = []
    for node in nodes:
        try:
            messages.append(parse_message(*node))
        except (AttributeError, KeyError, TypeError, InvalidRecord):
            unread += 1
            messages.append(ImportedMessage(*node[:2], None))
    return conversation_of(messages, unread=unread, **about)


def parse_message(
    id: str,
    parent: str | None,
    message: Any,
    reply_of: Callable[[Mapping[str, Any], str], str],
) -> ImportedMessage:
    """A message with "role", "content", "timestamp" and "model".

    Args:
        reply_of: a reply with its thoughts, of the message and its content.
    """
    role = speaker_of(message.get("role"))
    if message.get("type") == "root" or role is None:
        return ImportedMessage(id, parent, None)
    text = message["content"]
    if not isinstance(text, str):
        raise TypeError
    if role == "assistant":
        text = reply_of(message, text)
    model = text_or_none(message.get("model")) or ""
    return ImportedMessage(id, parent, role, text, epoch_seconds(message.get("timestamp")), model)


def id_in(message: Any, name: str) -> str | None:
    """The id that a message has under this name; None if it has none, or is no message."""
    return text_or_none(message.get(name)) if isinstance(message, dict) else None


def conversation_of(
    messages: Iterable[ImportedMessage],
    *,
    title: str = "",
    created_at: float = 0.0,
    updated_at: float = 0.0,
    current: str | None = None,
    unread: int = 0,
) -> ImportedConversation:
    """Rounds of a tree of messages.

    What one speaker says in a row is one text. Messages that are their own ancestors cannot be
    reached from a first one and are counted as unread.

    Args:
        messages: in the order of their versions.
        current: the message that the user looked at last.
        unread: messages that the caller could not read.

    Raises:
        InvalidRecord: there is no message to keep.
    """
    by_id = {each.id: each for each in messages}
    children: dict[str | None, list[str]] = {}
    for each in by_id.values():
        parent = each.parent if each.parent in by_id else None
        children.setdefault(parent, []).append(each.id)
    rounds: list[Round] = []
    numbers: dict[str, int] = {}
    to_do = [(id, _OpenRound()) for id in reversed(children.get(None, []))]
    reached = 0
    while to_do:
        id, saying = to_do.pop()
        reached += 1
        message = by_id[id]
        if message.role == "user" and saying.replies:
            saying = _OpenRound(_number(saying, rounds, numbers))
        saying = _with(saying, message)
        below = children.get(id, [])
        to_do += [(child, saying) for child in reversed(below)]
        if not below and (saying.query is not None or saying.replies):
            numbers[id] = _number(saying, rounds, numbers)
    if not rounds:
        raise InvalidRecord(say("import.no_messages"))
    passed: set[str] = set()
    while current in by_id and current not in numbers and children.get(current):
        if current in passed:
            # Among messages that are their own ancestors.
            break
        passed.add(current)
        current = children[current][-1]
    head = numbers.get(current or "", len(rounds))
    created = created_at or rounds[0].started_at
    updated = max(updated_at, created, max(each.started_at for each in rounds))
    about = Conversation(
        0, title, created, updated, len(path_to(dict(enumerate(rounds, 1)), head)), head
    )
    return ImportedConversation(Transcript(about, tuple(rounds)), unread + len(by_id) - reached)


def _with(saying: _OpenRound, message: ImportedMessage) -> _OpenRound:
    text = message.text
    if message.role is None or not text.strip():
        return saying
    if message.role == "user":
        query = text if saying.query is None else f"{saying.query}\n{text}"
        return _OpenRound(saying.parent, query, asked_at=message.at)
    return _OpenRound(
        saying.parent,
        saying.query,
        (*saying.replies, text),
        saying.asked_at,
        saying.replied_at or message.at,
        message.model or saying.model,
        message.id,
    )


def _number(saying: _OpenRound, rounds: list[Round], numbers: dict[str, int]) -> int:
    """The number of a round, which is added the first time."""
    known = numbers.get(saying.last)
    if known is not None:
        return known
    took = saying.replied_at - saying.asked_at
    known_times = saying.replied_at and saying.asked_at
    rounds.append(
        Round(
            len(rounds) + 1,
            0,
            saying.parent,
            saying.query or "",
            "\n\n".join(saying.replies),
            "done" if saying.replies else "stopped",
            saying.model,
            started_at=saying.asked_at or saying.replied_at,
            seconds=took if known_times and 0 < took < _LONGEST_REPLY_SECONDS else 0.0,
        )
    )
    if saying.last:
        numbers[saying.last] = len(rounds)
    return len(rounds)


def speaker_of(name: Any) -> Speaker | None:
    """Who a role or a name means; None for a system text and for anything unknown."""
    role = ROLES.get(name.lower()) if isinstance(name, str) else None
    return "user" if role == "user" else "assistant" if role == "assistant" else None


def epoch_seconds(value: Any) -> float:
    """Seconds since the epoch of a number of seconds or milliseconds; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e15:
        return 0.0
    return float(value) / 1000 if value > _LAST_SECOND else float(value)


def text_or_none(value: Any) -> str | None:
    """A text as it is, a number as text; None for anything else."""
    if isinstance(value, str):
        return value or None
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else None


def with_thoughts(thoughts: Any, text: str) -> str:
    """A reply with what was thought before it in front, as chatui keeps it."""
    if not isinstance(thoughts, str) or not thoughts.strip():
        return text
    return f"<think>\n{thoughts.strip()}\n</think>\n\n{text}"
