"""The parts of a reply that is more than an answer: thoughts before it, MOSS's plugin commands.

Works on a reply that is still streaming as well: an unfinished part is a part.
"""

from __future__ import annotations

import re
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


@dataclass(frozen=True)
class ReplyPart:
    """A stretch of a reply.

    Attributes:
        kind: the answer itself, or what comes before it.
        text: without marks, stripped.
    """

    kind: Kind
    text: str


def opened_by(prompt: str) -> str:
    """The mark that a prompt's end has written in the reply's place; "" where there is none.

    DeepSeek-R1's chat template opens the thoughts. A reply is kept with the mark, so that it tells
    its parts by itself.
    """
    return f"{_OPEN}\n" if prompt.endswith((_OPEN, f"{_OPEN}\n")) else ""


def split_reply(text: str) -> tuple[ReplyPart, ...]:
    """Take a reply apart, in the order in which it was written; empty parts are left out."""
    if _MOSS_LABEL.search(text):
        return _split_moss(text)
    if _OPEN in text or _CLOSE in text:
        return _split_thinking(text)
    return _present(ReplyPart("answer", text.strip()))


def answer_of(text: str) -> str:
    """The answer alone."""
    return "\n\n".join(part.text for part in split_reply(text) if part.kind == "answer")


def read_again(text: str) -> str:
    """What of an earlier reply the model reads in later rounds.

    Thoughts are left out, as the templates of the models that think leave them out (Qwen3,
    DeepSeek-R1). The parts of a MOSS reply stay: its format closes and repeats them.
    """
    thought = _MOSS_LABEL.search(text) is None and (_OPEN in text or _CLOSE in text)
    return answer_of(text) if thought else text


def _split_thinking(text: str) -> tuple[ReplyPart, ...]:
    before, opened, after_open = text.partition(_OPEN)
    if not opened:
        before, after_open = "", text
    thoughts, _, answer = after_open.partition(_CLOSE)
    return _present(
        ReplyPart("answer", before.strip()),
        ReplyPart("thinking", thoughts.strip()),
        ReplyPart("answer", answer.strip()),
    )


def _split_moss(text: str) -> tuple[ReplyPart, ...]:
    before, *pieces = _MOSS_LABEL.split(_MOSS_MARK.sub("", text))
    labels, texts = pieces[::2], pieces[1::2]
    parts = [
        ReplyPart(_MOSS[label], said.strip())
        for label, said in zip(labels, texts, strict=True)
        if label == "MOSS" or said.strip() != "None"
    ]
    return _present(ReplyPart("answer", before.strip()), *parts)


def _present(*parts: ReplyPart) -> tuple[ReplyPart, ...]:
    return tuple(part for part in parts if part.text)
