"""The parts of a reply that is more than an answer: thoughts before it, MOSS's plugin commands.

A thought begins at the start of a reply, where the model or its template opened it; a mark that
comes later is text. This works on a reply that is still streaming: an unfinished part is a part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["answer", "thinking", "inner-thoughts", "commands", "results"]

_MOSS: dict[str, Kind] = {
    "Inner Thoughts": "inner-thoughts",
    "Commands": "commands",
    "Results": "results",
    "MOSS": "answer",
}
_MOSS_LABEL = re.compile(r"<\|(Inner Thoughts|Commands|Results|MOSS)\|>:? ?")
_MOSS_MARK = re.compile(r"<eo[htcrm]>")
_OPEN, _CLOSE = "<think>", "</think>"
_CLOSE_LINE = re.compile(r"^[ \t]*</think>[ \t]*$", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*(```|~~~)", re.MULTILINE)


@dataclass(frozen=True)
class ReplyPart:
    """A stretch of a reply.

    Attributes:
        kind: the answer itself, or what comes before it.
        text: without marks, stripped.
    """

    kind: Kind
    text: str


def thought_opening(prompt: str) -> str:
    """The ``<think>`` with which a prompt ends; "" if it does not.

    DeepSeek-R1's chat template opens the thoughts. A reply is stored with the mark, so that its
    parts can be split without the prompt.
    """
    return f"{_OPEN}\n" if prompt.endswith((_OPEN, f"{_OPEN}\n")) else ""


def split_reply(text: str) -> tuple[ReplyPart, ...]:
    """Take a reply apart, in the order in which it was written; empty parts are left out."""
    label = _MOSS_LABEL.match(text.lstrip())
    parts = _split_moss(text) if label else _split_thinking(text)
    return tuple(part for part in parts if part.text)


def answer_of(text: str) -> str:
    """The answer alone."""
    return "\n\n".join(part.text for part in split_reply(text) if part.kind == "answer")


def reply_for_history(text: str) -> str:
    """The part of an earlier reply that the model reads in later rounds.

    Thoughts are left out, as the templates of the models that think leave them out (Qwen3,
    DeepSeek-R1). The parts of a MOSS reply stay: its format closes and repeats them.
    """
    thought = any(part.kind == "thinking" for part in split_reply(text))
    return answer_of(text) if thought or text.lstrip().startswith(_OPEN) else text


def prompt_history(rounds: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Earlier rounds, as (query, reply), as the next prompt holds them.

    How a reply ended does not count; a round whose reply has nothing to read is left out.
    """
    read = ((query, reply_for_history(reply)) for query, reply in rounds)
    return tuple((query, reply) for query, reply in read if reply.strip())


def _split_thinking(text: str) -> list[ReplyPart]:
    parts: list[ReplyPart] = []
    rest = text.strip()
    while rest.startswith(_OPEN):
        thoughts, _, rest = rest.removeprefix(_OPEN).partition(_CLOSE)
        parts.append(ReplyPart("thinking", thoughts.strip()))
        rest = rest.strip()
    if not parts and _OPEN not in rest:
        # A server whose template opened the thoughts gives their end alone, on a line of its own.
        end = _CLOSE_LINE.search(rest)
        if end and len(_FENCE.findall(rest, 0, end.start())) % 2 == 0:
            parts.append(ReplyPart("thinking", rest[: end.start()].strip()))
            rest = rest[end.end() :].strip()
    return [*parts, ReplyPart("answer", rest)]


def _split_moss(text: str) -> list[ReplyPart]:
    before, *pieces = _MOSS_LABEL.split(_MOSS_MARK.sub("", text))
    labels, texts = pieces[::2], pieces[1::2]
    return [
        ReplyPart("answer", before.strip()),
        *(
            ReplyPart(_MOSS[label], said.strip())
            for label, said in zip(labels, texts, strict=True)
            if label == "MOSS" or said.strip() != "None"
        ),
    ]
