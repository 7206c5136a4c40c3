"""Dialogues to learn from, and the forms in which files hold them.

A record is one JSON value: a row with a query and a reply, or a whole conversation. What is
missing or of a wrong type makes the record a :class:`WrongRecord`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.prompting.format import Exchange
from chatui.prompting.parts import reply_for_history
from chatui.text import one_line

Train: TypeAlias = Literal["all", "last"]
"""Which replies of a dialogue are learned."""

_ROWS = (
    ("instruction", "input", "output"),
    ("instruct", "query", "answer"),
    ("prompt", "", "response"),
    ("query", "", "response"),
    ("question", "", "answer"),
    ("content", "", "summary"),
    ("input", "", "label"),
    ("input", "", "output"),
)
"""Columns of rows: the query, an input that follows it in a new line, the reply.

The first is Alpaca's; the second and the seventh are the article's; "prompt", "response" and
"content", "summary" are those of THUDM/ChatGLM-6B's ptuning.
"""

_SPEAKERS = {
    "system": ("system", "developer"),
    "user": ("user", "human"),
    "assistant": ("assistant", "gpt", "chatgpt", "bot", "bing", "bard", "model"),
}
ROLES = {name: role for role, names in _SPEAKERS.items() for name in names}
"""Who a name in a file means."""


class WrongRecord(ValueError):
    """A record that is no dialogue; the message is the reason."""


class Dialogue(msgspec.Struct, frozen=True):
    """Rounds, and which of their replies are to be learned.

    Attributes:
        rounds: (query, reply), oldest first.
        system: the system text; None for the format's own.
        states_target: the record names one reply to learn, its last, and what comes before it is
            its history.
        has_history: the record has a history, even if an empty one.
        unfinished: places of replies that broke off; they are read and never learned.
        not_chosen: places of others that are read only.
    """

    rounds: tuple[Exchange, ...]
    system: str | None = None
    states_target: bool = False
    has_history: bool = False
    unfinished: frozenset[int] = frozenset()
    not_chosen: frozenset[int] = frozenset()

    def learned(self, train: Train | None) -> Sequence[int]:
        """The places of the rounds whose replies are learned.

        Args:
            train: all or the last one; None for the one that the record names, else all.
        """
        last = len(self.rounds) - 1
        only_last = self.states_target if train is None else train == "last"
        return [
            place for place in range(last if only_last else 0, last + 1)
            if place not in self.unfinished and place not in self.not_chosen
        ]  # fmt: skip


def of_rounds(rounds: Iterable[Round], not_chosen: Collection[int] = ()) -> Dialogue:
    """The dialogue of a saved conversation, as later prompts of it read.

    A round without anything to read is left out; what a user stopped, an error ended or a limit cut
    is unfinished. The system text is what the conversation had last in place of the preset's.

    Args:
        not_chosen: ids of rounds whose replies are not to be learned.
    """
    kept = [each for each in rounds if reply_for_history(each.reply).strip()]
    system = kept[-1].sampling.get("system") if kept else None
    return Dialogue(
        tuple((each.query, each.reply) for each in kept),
        system if isinstance(system, str) else None,
        unfinished=frozenset(at for at, each in enumerate(kept) if is_unfinished(each)),
        not_chosen=frozenset(at for at, each in enumerate(kept) if each.id in not_chosen),
    )


def is_unfinished(round_: Round) -> bool:
    """Whether a reply broke off."""
    return round_.state != "done" or round_.finish_reason in ("length", "filter", "cancelled")


def of_record(record: object) -> Dialogue:
    """The dialogue in a JSON value: Alpaca's, ShareGPT's, OpenAI's or ChatGLM's form.

    Raises:
        WrongRecord: it has none of these forms, or a value of a wrong type.
    """
    if isinstance(record, list):
        return _of_pairs(record) if is_pair(record[:1]) else _of_messages(record)
    if not isinstance(record, dict):
        raise WrongRecord(say("dataset.no_form", keys=one_line(str(record), 60)))
    for name in ("conversations", "messages", "conversation"):
        if isinstance(record.get(name), list):
            spoken = _of_messages(record[name])
            system = _optional(record, "system")
            return Dialogue(spoken.rounds, spoken.system if system is None else system)
    for query, addition, reply in _ROWS:
        if query in record and reply in record:
            return _of_row(record, query, addition, reply)
    if isinstance(record.get("history"), list):
        return Dialogue(_pairs(record["history"]), _optional(record, "system"))
    keys = one_line(", ".join(map(str, record)), 80)
    raise WrongRecord(say("dataset.no_form", keys=keys or "{}"))


def is_pair(records: Sequence[object]) -> bool:
    """Whether the first of ``records`` is a [query, reply], so that all are one conversation."""
    first = records[0] if records else None
    return isinstance(first, list) and all(isinstance(text, str) for text in first)


def is_message(record: object) -> bool:
    """Whether a record is one message of a conversation."""
    return isinstance(record, dict) and ("role" in record or "from" in record)


def _of_row(record: Mapping[str, Any], query: str, addition: str, reply: str) -> Dialogue:
    asked, answered = _text(record, query), _text(record, reply)
    added = _optional(record, addition) if addition else None
    history = record.get("history")
    earlier = _pairs(history) if history is not None else ()
    return Dialogue(
        rounds=(*earlier, (f"{asked}\n{added}" if added else asked, answered)),
        system=_optional(record, "system"),
        states_target=True,
        has_history=history is not None,
    )


def _of_pairs(pairs: Sequence[object]) -> Dialogue:
    return Dialogue(_pairs(pairs))


def _pairs(value: object) -> tuple[Exchange, ...]:
    if not isinstance(value, list):
        raise WrongRecord(say("dataset.no_pairs", number=1))
    for number, pair in enumerate(value, 1):
        if not isinstance(pair, list) or len(pair) != 2 or not is_pair([pair]):
            raise WrongRecord(say("dataset.no_pairs", number=number))
    return tuple((query, reply) for query, reply in value)


def _of_messages(messages: Sequence[object]) -> Dialogue:
    """Turns of speakers as rounds.

    What one speaker says in a row is one text. A greeting before the first query and a query
    without a reply are left out.
    """
    system: str | None = None
    rounds: list[Exchange] = []
    asked: str | None = None
    for number, message in enumerate(messages, 1):
        role, text = _said(message, number)
        if role == "system":
            system = text if system is None else f"{system}\n{text}"
        elif role == "user":
            asked = text if asked is None else f"{asked}\n{text}"
        elif asked is not None:
            rounds.append((asked, text))
            asked = None
        elif rounds:
            rounds[-1] = (rounds[-1][0], f"{rounds[-1][1]}\n{text}")
    if not rounds:
        raise WrongRecord(say("dataset.no_reply"))
    return Dialogue(tuple(rounds), system)


def _said(message: object, number: int) -> tuple[str, str]:
    """Role and text of a message: ShareGPT's "from" and "value", or OpenAI's "role" and "content".

    A content of several parts is the text of its parts.
    """
    if not isinstance(message, dict):
        raise WrongRecord(say("dataset.no_message", number=number))
    speaker = message.get("from", message.get("role"))
    role = ROLES.get(speaker.lower()) if isinstance(speaker, str) else None
    if role is None:
        shown = one_line(str(speaker), 40)
        raise WrongRecord(say("dataset.no_speaker", number=number, name=shown))
    text = message.get("value", message.get("content"))
    if isinstance(text, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in text]
        said = [part for part in parts if isinstance(part, str)]
        text = "".join(said) if len(said) == len(parts) else None
    if not isinstance(text, str):
        raise WrongRecord(say("dataset.no_content", number=number))
    return role, text


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise WrongRecord(say("dataset.no_text", name=name))
    return value


def _optional(record: Mapping[str, Any], name: str) -> str | None:
    return None if record.get(name) is None else _text(record, name)
