"""Split a reply into its parts: thoughts, MOSS's plugin commands and the answer.

Thoughts are only recognised at the start of a reply; a later tag is text. Replies that are still
streaming can be split too; their last part may be unfinished.
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
    """A part of a reply.

    Attributes:
        kind: kind of the part.
        text: content without marks, stripped.
    """

    kind: Kind
    text: str


def thought_opening(prompt: str) -> str:
    """Return the ``<think>`` at the end of a prompt; "" without one.

    Some chat templates, e.g. DeepSeek-R1's, open the thoughts in the prompt. Replies are saved with
    this tag so that they can be split without the prompt.
    """
    return f"{_OPEN}\n" if prompt.endswith((_OPEN, f"{_OPEN}\n")) else ""


def split_reply(text: str) -> tuple[ReplyPart, ...]:
    """Split a reply into its parts, in order, without empty ones."""
    label = _MOSS_LABEL.match(text.lstrip())
    parts = _split_moss(text) if label else _split_thinking(text)
    return tuple(part for part in parts if part.text)


def answer_of(text: str) -> str:
    """Return the answer without the other parts."""
    return "\n\n".join(part.text for part in split_reply(text) if part.kind == "answer")


def reply_for_history(text: str) -> str:
    """Return the part of an earlier reply that the model reads in later rounds.

    Thoughts are left out, as in the templates of thinking models (Qwen3, DeepSeek-R1). All parts of
    a MOSS reply are kept, because its format repeats them.
    """
    thought = any(part.kind == "thinking" for part in split_reply(text))
    return answer_of(text) if thought or text.lstrip().startswith(_OPEN) else text


def prompt_history(rounds: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return earlier rounds, as (query, reply), for the next prompt.

    Rounds with an empty reply are left out; stopped and failed replies are kept.
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
        # If a server's template opened the thoughts, only their end is in the reply, on a line.
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
            ReplyPart(_MOSS[label], text.strip())
            for label, text in zip(labels, texts, strict=True)
            if label == "MOSS" or text.strip() != "None"
        ),
    ]
