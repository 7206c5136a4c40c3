"""Convert a tree of messages, as most programs store it, to a tree of rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from chatui.conversation.dialogues import ROLES, InvalidRecord
from chatui.conversation.rounds import Conversation, Round, RoundState, Transcript
from chatui.locales import say

_LONGEST_REPLY_SECONDS = 3600.0
_MOST_SECONDS = 1e11
"""Larger timestamps are in milliseconds."""

Speaker: TypeAlias = Literal["user", "assistant"]


class ImportedMessage(msgspec.Struct, frozen=True):
    """A message of one speaker.

    Attributes:
        id: unique in its conversation.
        parent: the id of the message before it; None for a first one.
        role: the speaker; None for a message that is skipped, such as a system message.
        text: the message's text.
        at: seconds since the epoch; 0 if unknown.
        model: name of the model that replied; "" if unknown.
    """

    id: str
    parent: str | None
    role: Speaker | None
    text: str = ""
    at: float = 0.0
    model: str = ""


class _OpenRound(msgspec.Struct, frozen=True):
    """A round to which the messages of a path are added.

    Attributes:
        parent: number of the round before it.
        query: None until a message of the user is added.
        last: id of the last message of its reply.
    """

    parent: int | None = None
    query: str | None = None
    replies: tuple[str, ...] = ()
    asked_at: float = 0.0
    replied_at: float = 0.0
    model: str = ""
    last: str = ""


Said: TypeAlias = tuple[Speaker, str, Any, Any]
"""The role and text of a message, and its time and model as its program stores them."""


def parse_conversation(
    raw: Iterable[tuple[Any, Any]],
    parent_key: str,
    parse: Callable[[Any], Said | None],
    title: Any,
    created_at: Any = None,
    updated_at: Any = None,
    current: Any = None,
    unread: int = 0,
) -> Transcript:
    """Convert messages in another program's format to a conversation.

    Messages that cannot be read are skipped and counted; the messages after them are kept.

    Args:
        raw: ids and messages; versions of a message are in order.
        parent_key: the key of a message's parent.
        parse: converts a message, or returns None to skip it; may raise AttributeError, KeyError,
            TypeError and InvalidRecord.
        title, created_at, updated_at, current: as the program stores them.
        unread: as for :func:`build_conversation`.

    Raises:
        InvalidRecord: no message has text.
    """
    messages: list[ImportedMessage] = []
    for id, message in raw:
        parent = message.get(parent_key) if isinstance(message, dict) else None
        place = text_of(id), text_of(parent) or None
        try:
            said = parse(message)
        except (AttributeError, KeyError, TypeError, InvalidRecord):
            unread, said = unread + 1, None
        if said is None:
            messages.append(ImportedMessage(*place, None))
        else:
            role, text, at, model = said
            messages.append(ImportedMessage(*place, role, text, epoch_seconds(at), text_of(model)))
    return build_conversation(
        messages,
        text_of(title),
        epoch_seconds(created_at),
        epoch_seconds(updated_at),
        text_of(current),
        unread,
    )


def build_conversation(
    messages: Iterable[ImportedMessage],
    title: str = "",
    created_at: float = 0.0,
    updated_at: float = 0.0,
    current: str = "",
    unread: int = 0,
) -> Transcript:
    """Convert a tree of messages to a conversation.

    Consecutive messages of one speaker are joined. Messages in a cycle of parents are skipped and
    counted as unread.

    Args:
        messages: the messages; versions of a message are in order.
        current: id of the message that the user looked at last.
        unread: number of messages that the caller could not read.

    Raises:
        InvalidRecord: no message has text.
    """
    by_id = {each.id: each for each in messages}
    children: dict[str | None, list[str]] = {}
    for each in by_id.values():
        parent = each.parent if each.parent in by_id else None
        children.setdefault(parent, []).append(each.id)
    rounds: list[Round] = []
    numbers: dict[str, int] = {}
    stack = [(id, _OpenRound()) for id in reversed(children.get(None, []))]
    reached: set[str] = set()
    while stack:
        id, open_round = stack.pop()
        reached.add(id)
        message = by_id[id]
        if message.role == "user" and open_round.replies:
            open_round = _OpenRound(_add_round(open_round, rounds, numbers))
        open_round = _add_message(open_round, message)
        child_ids = children.get(id, [])
        stack += [(child, open_round) for child in reversed(child_ids)]
        if not child_ids and (open_round.query is not None or open_round.replies):
            numbers[id] = _add_round(open_round, rounds, numbers)
    if not rounds:
        raise InvalidRecord(say("import.no_messages"))
    # Messages in a cycle are not reached.
    while current in reached and current not in numbers:
        current = children[current][-1] if current in children else ""
    head = numbers.get(current, len(rounds))
    created = created_at or rounds[0].started_at
    updated = max(updated_at, created, max(each.started_at for each in rounds))
    about = Conversation(0, title, created, updated, head_id=head)
    unread += len(by_id) - len(reached)
    return Transcript(about, tuple(rounds), unread_messages=unread)


def _add_message(open_round: _OpenRound, message: ImportedMessage) -> _OpenRound:
    text = message.text
    if message.role is None or not text.strip():
        return open_round
    if message.role == "user":
        query = text if open_round.query is None else f"{open_round.query}\n{text}"
        return _OpenRound(open_round.parent, query, asked_at=message.at)
    return replace(
        open_round,
        replies=(*open_round.replies, text),
        replied_at=open_round.replied_at or message.at,
        model=message.model or open_round.model,
        last=message.id,
    )


def _add_round(open_round: _OpenRound, rounds: list[Round], numbers: dict[str, int]) -> int:
    """Return the number of a round, after adding it to ``rounds`` if it is new."""
    known = numbers.get(open_round.last)
    if known is not None:
        return known
    started_at = open_round.asked_at or open_round.replied_at
    seconds = open_round.replied_at - open_round.asked_at
    if not open_round.asked_at or not 0 < seconds < _LONGEST_REPLY_SECONDS:
        seconds = 0.0
    number = len(rounds) + 1
    said = open_round.query or "", "\n\n".join(open_round.replies)
    state: RoundState = "done" if open_round.replies else "stopped"
    about = open_round.parent, *said, state, open_round.model
    rounds.append(Round(number, 0, *about, started_at=started_at, seconds=seconds))
    if open_round.last:
        numbers[open_round.last] = number
    return number


def parse_speaker(name: Any) -> Speaker | None:
    """Return the speaker of a role or name; None for "system" and unknown names."""
    role = ROLES.get(name.lower()) if isinstance(name, str) else None
    return "user" if role == "user" else "assistant" if role == "assistant" else None


def epoch_seconds(value: Any) -> float:
    """Convert seconds or milliseconds since the epoch to seconds; other values give 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e15:
        return 0.0
    return float(value) / 1000 if value > _MOST_SECONDS else float(value)


def text_of(value: Any) -> str:
    """Return a string unchanged and an integer as text; other values give ""."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if isinstance(value, str) else str(value) if is_number else ""


def with_thoughts(thoughts: Any, text: str) -> str:
    """Return a reply after its reasoning in <think> tags, as chatui stores it."""
    if not isinstance(thoughts, str) or not thoughts.strip():
        return text
    return f"<think>\n{thoughts.strip()}\n</think>\n\n{text}"
