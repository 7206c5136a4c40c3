"""Training dialogues: made from saved rounds, read from and written as JSON records.

A record is a JSON value: a row with a query and a reply, or a whole conversation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeGuard

import msgspec

from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.prompting.format import Exchange
from chatui.prompting.parts import reply_for_history
from chatui.text import one_line

Train: TypeAlias = Literal["all", "last"]
"""Which replies of a dialogue are trained on."""

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
"""Columns of rows: query, an optional input appended to it on a new line, reply.

"instruction" is Alpaca's; "instruct" and "input", "label" are the article's; "prompt", "response"
and "content", "summary" are from THUDM/ChatGLM-6B's ptuning.
"""

_SPEAKERS = {
    "system": ("system", "developer"),
    "user": ("user", "human"),
    "assistant": ("assistant", "gpt", "chatgpt", "bot", "bing", "bard", "model"),
}
ROLES = {name: role for role, names in _SPEAKERS.items() for name in names}
"""Roles by the speaker names found in files."""


class InvalidRecord(ValueError):
    """A record cannot be read as a dialogue; the message is the reason."""


class Dialogue(msgspec.Struct, frozen=True):
    """Rounds, and which of their replies to train on.

    Attributes:
        rounds: (query, reply), oldest first.
        system: the system text; None for the format's own.
        last_only: by default train only on the last reply; the rounds before it are its history.
        has_history: the record has a history, even if an empty one.
        unfinished: indexes of incomplete replies; they are context and never trained on.
        excluded: indexes of other replies that are only context.
    """

    rounds: tuple[Exchange, ...]
    system: str | None = None
    last_only: bool = False
    has_history: bool = False
    unfinished: frozenset[int] = frozenset()
    excluded: frozenset[int] = frozenset()

    def trained_replies(self, train: Train | None) -> Sequence[int]:
        """Return the indexes of the rounds whose replies are trained on.

        Args:
            train: overrides ``last_only``; None keeps it.
        """
        last = len(self.rounds) - 1
        last_only = self.last_only if train is None else train == "last"
        context_only = self.unfinished | self.excluded
        return [at for at in range(last if last_only else 0, last + 1) if at not in context_only]


@dataclass(frozen=True)
class PreferencePair:
    """Two replies to one query; the user prefers the first.

    Attributes:
        dialogue: the rounds up to the query, with the preferred reply.
        rejected: the other reply.
    """

    dialogue: Dialogue
    rejected: str


def dialogue_from_rounds(rounds: Iterable[Round], excluded: Collection[int] = ()) -> Dialogue:
    """Return the dialogue of saved rounds, as later prompts contain them.

    Rounds with an empty reply are left out. The system text is the last round's, if the user
    replaced the preset's.

    Args:
        excluded: ids of rounds whose replies are only context.
    """
    kept = [each for each in rounds if reply_for_history(each.reply).strip()]
    system = kept[-1].sampling.get("system") if kept else None
    return Dialogue(
        tuple((each.query, each.reply) for each in kept),
        system if isinstance(system, str) else None,
        unfinished=frozenset(at for at, each in enumerate(kept) if is_unfinished(each)),
        excluded=frozenset(at for at, each in enumerate(kept) if each.id in excluded),
    )


def is_unfinished(round_: Round) -> bool:
    """True if the reply was stopped, failed or was cut off by a limit."""
    return round_.state != "done" or round_.finish_reason in ("length", "filter", "cancelled")


def parse_record(record: object) -> Dialogue:
    """Return the dialogue in a JSON value in Alpaca's, ShareGPT's, OpenAI's or ChatGLM's format.

    Raises:
        InvalidRecord: the value has none of these formats, or a part has a wrong type.
    """
    if isinstance(record, list):
        is_history = bool(record) and is_pair(record[0])
        return Dialogue(_pairs(record)) if is_history else _from_messages(record)
    if not isinstance(record, dict):
        raise InvalidRecord(say("dataset.no_form", keys=one_line(str(record), 60)))
    for name in ("conversations", "messages", "conversation"):
        if isinstance(record.get(name), list):
            spoken = _from_messages(record[name])
            system = _optional(record, "system")
            return Dialogue(spoken.rounds, spoken.system if system is None else system)
    for query, addition, reply in _ROWS:
        if query in record and reply in record:
            return _from_row(record, query, addition, reply)
    if isinstance(record.get("history"), list):
        return Dialogue(_pairs(record["history"]), _optional(record, "system"))
    keys = one_line(", ".join(map(str, record)), 80)
    raise InvalidRecord(say("dataset.no_form", keys=keys or "{}"))


def is_pair(value: object) -> TypeGuard[list[str]]:
    """True if the value is a list of strings, as the [query, reply] pairs of ChatGLM's format."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def is_message(record: object) -> bool:
    """True if the record is a single message of a conversation."""
    return isinstance(record, dict) and ("role" in record or "from" in record)


def _from_row(record: Mapping[str, Any], query: str, addition: str, reply: str) -> Dialogue:
    asked, answered = _text(record, query), _text(record, reply)
    added = _optional(record, addition) if addition else None
    history = record.get("history")
    earlier = _pairs(history) if history is not None else ()
    return Dialogue(
        rounds=(*earlier, (f"{asked}\n{added}" if added else asked, answered)),
        system=_optional(record, "system"),
        last_only=True,
        has_history=history is not None,
    )


def _pairs(value: object) -> tuple[Exchange, ...]:
    if not isinstance(value, list):
        raise InvalidRecord(say("dataset.no_pairs", number=1))
    for number, pair in enumerate(value, 1):
        if not is_pair(pair) or len(pair) != 2:
            raise InvalidRecord(say("dataset.no_pairs", number=number))
    return tuple((query, reply) for query, reply in value)


def _from_messages(messages: Sequence[object]) -> Dialogue:
    """Return the dialogue of a list of messages.

    Consecutive messages of one speaker are joined. A greeting before the first query and a query
    without a reply are left out.
    """
    system: str | None = None
    rounds: list[Exchange] = []
    asked: str | None = None
    for number, message in enumerate(messages, 1):
        role, text = _role_and_text(message, number)
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
        raise InvalidRecord(say("dataset.no_reply"))
    return Dialogue(tuple(rounds), system)


def _role_and_text(message: object, number: int) -> tuple[str, str]:
    """Return role and text of a message: ShareGPT's from and value, or OpenAI's role and content.

    The texts of a content in several parts are joined.
    """
    if not isinstance(message, dict):
        raise InvalidRecord(say("dataset.no_message", number=number))
    speaker = message.get("from", message.get("role"))
    role = ROLES.get(speaker.lower()) if isinstance(speaker, str) else None
    if role is None:
        shown = one_line(str(speaker), 40)
        raise InvalidRecord(say("dataset.no_speaker", number=number, name=shown))
    text = message.get("value", message.get("content"))
    if isinstance(text, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in text]
        said = [part for part in parts if isinstance(part, str)]
        text = "".join(said) if len(said) == len(parts) else None
    if not isinstance(text, str):
        raise InvalidRecord(say("dataset.no_content", number=number))
    return role, text


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record[name]
    if not isinstance(value, str):
        raise InvalidRecord(say("dataset.no_text", name=name))
    return value


def _optional(record: Mapping[str, Any], name: str) -> str | None:
    return None if record.get(name) is None else _text(record, name)


def to_openai(dialogue: Dialogue) -> dict[str, Any]:
    """Return OpenAI's messages."""
    return {"messages": _messages(dialogue, "role", "content", "user", "assistant")}


def to_sharegpt(dialogue: Dialogue) -> dict[str, Any]:
    """Return ShareGPT's conversations."""
    return {"conversations": _messages(dialogue, "from", "value", "human", "gpt")}


def to_alpaca(dialogue: Dialogue) -> dict[str, Any]:
    """Return Alpaca's row for the last round, with the earlier rounds as its history."""
    *history, (query, reply) = dialogue.rounds
    return {
        "instruction": query,
        "input": "",
        "output": reply,
        "history": [list(pair) for pair in history],
        **({} if dialogue.system is None else {"system": dialogue.system}),
    }


def to_chatglm(dialogue: Dialogue) -> list[list[str]]:
    """Return ChatGLM's history: pairs of query and reply."""
    return [list(pair) for pair in dialogue.rounds]


def to_trl(pair: PreferencePair) -> dict[str, Any]:
    """Return TRL's conversational preference with explicit prompt (its page "Dataset formats")."""
    history, query, chosen = _parts(pair)
    before = Dialogue(history, pair.dialogue.system)
    asked = _messages(before, "role", "content", "user", "assistant")
    return {
        "prompt": [*asked, {"role": "user", "content": query}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": pair.rejected}],
    }


def to_llama_factory(pair: PreferencePair) -> dict[str, Any]:
    """Return LLaMA-Factory's preference row in Alpaca's format (its data/README.md)."""
    history, query, chosen = _parts(pair)
    return {
        "prompt": query,
        "chosen": chosen,
        "rejected": pair.rejected,
        "history": [list(exchange) for exchange in history],
        "system": pair.dialogue.system or "",
    }


def _parts(pair: PreferencePair) -> tuple[tuple[tuple[str, str], ...], str, str]:
    """Return the earlier rounds as prompts contain them, the query and the preferred reply."""
    *before, (query, chosen) = pair.dialogue.rounds
    return tuple((asked, reply_for_history(said)) for asked, said in before), query, chosen


def _messages(
    dialogue: Dialogue, speaker: str, text: str, asking: str, replying: str
) -> list[dict[str, str]]:
    system = [] if dialogue.system is None else [{speaker: "system", text: dialogue.system}]
    return system + [
        {speaker: name, text: said}
        for pair in dialogue.rounds
        for name, said in zip((asking, replying), pair, strict=True)
    ]
