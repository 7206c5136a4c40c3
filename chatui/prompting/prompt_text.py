"""A prompt as text, and how it becomes token ids.

A tokenizer turns the spelling of a special token (``<|im_end|>``) into that token. In a prompt that
a chat template rendered this must happen only where the template wrote it: the same characters in
a message are text, or a message could end the user's turn and begin another.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from chatui.locales import say
from chatui.text import without_surrogates

if TYPE_CHECKING:
    from chatui.messages import GenerateRequest
    from chatui.prompting.format import Exchange, PromptFormat

Span: TypeAlias = tuple[int, int]
"""Start and end of a stretch of text, in characters."""

Encode: TypeAlias = Callable[[str], list[int]]

_ASCII_OF = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0xFE64: "<", 0xFE65: ">"}


class PromptText(str):
    """A prompt that knows which stretches are literal: no special token is read in them.

    Attributes:
        literal: the stretches, in order; they do not overlap.
    """

    literal: tuple[Span, ...]

    def __new__(cls, text: str, literal: tuple[Span, ...] = ()) -> PromptText:
        made = super().__new__(cls, text)
        made.literal = literal
        return made


class LiteralText(str):
    """Text of a user, a model or a system message, as a part for :func:`joined`."""


def joined(*parts: str) -> PromptText:
    """The parts as one prompt; those that are a :class:`LiteralText` are literal."""
    literal: list[Span] = []
    at = 0
    for part in parts:
        if isinstance(part, LiteralText):
            literal.append((at, at + len(part)))
        at += len(part)
    return PromptText("".join(parts), tuple(literal))


class TokenFinder:
    """Finds the spellings of special tokens in a text, the longest of those that begin at a place.

    Args:
        tokens: their spellings.
        any_width: take full-width characters for ASCII, as tokenizers with NFKC do.
    """

    def __init__(self, tokens: Collection[str], *, any_width: bool = False) -> None:
        self._any_width = any_width
        self._tokens = frozenset(self._folded(token) for token in tokens if token)
        self._lengths = sorted({len(token) for token in self._tokens}, reverse=True)
        begins = {token[0] for token in self._tokens}
        self._begins = re.compile("[" + "".join(map(re.escape, begins)) + "]" if begins else "(?!)")

    def find(self, text: str, start: int = 0, end: int | None = None) -> Iterator[Span]:
        """The stretches of ``text[start:end]`` that spell a special token, in order."""
        within = self._folded(text[start:end])
        at = 0
        while found := self._begins.search(within, at):
            begin = found.start()
            at = begin + 1
            for length in self._lengths:
                token = within[begin : begin + length]
                if token in self._tokens:
                    at = begin + len(token)
                    yield start + begin, start + at
                    break

    def _folded(self, text: str) -> str:
        return text.translate(_ASCII_OF) if self._any_width else text


def encode(text: str, finder: TokenFinder, first: Encode, later: Encode) -> list[int]:
    """Token ids of a prompt, with the special tokens in its literal stretches read as text.

    The text is encoded as a whole unless a literal stretch spells a special token. It is then cut
    after the first character of each such spelling, so that no part spells it any more.

    Args:
        text: a :class:`PromptText`, or any string, which has no literal stretches.
        finder: finds the tokenizer's special tokens.
        first: encodes a text with what the tokenizer puts before it, e.g. BOS.
        later: encodes a text without that.
    """
    plain = str(text)
    cuts = [
        at + 1
        for start, end in getattr(text, "literal", ())
        for at, _ in finder.find(plain, start, end)
    ]
    begin, *others = zip([0, *cuts], [*cuts, len(plain)], strict=True)
    ids = first(without_surrogates(plain[slice(*begin)]))
    for stretch in others:
        ids += encode_continuation(without_surrogates(plain[slice(*stretch)]), later)
    return ids


def encode_continuation(text: str, encode: Encode) -> list[int]:
    """Token ids of ``text`` in the middle of a line.

    Some tokenizers put a space before a text, so it is encoded after a character that stays a token
    of its own.
    """
    for before in _LEADS:
        lead, ids = encode(before), encode(before + text)
        if lead and ids[: len(lead)] == lead:
            return ids[len(lead) :]
    return encode(text)


_LEADS = ("\n", "。", "|")


def prompt_notes(
    format: PromptFormat,
    history: Sequence[Exchange],
    request: GenerateRequest,
    special: TokenFinder,
) -> tuple[str, ...]:
    """What the user should know of a prompt.

    Args:
        history: the rounds in it.
        special: finds the tokenizer's special tokens.
    """
    notes = []
    if request.think is not None and format.thinking is None:
        notes.append(say("prompting.no_thinking_switch"))
    if not format.literal:
        texts = (*(query for query, _ in history), request.query, request.system or "")
        spelt = {text[start:end] for text in texts for start, end in special.find(text)}
        if spelt:
            names = ", ".join(sorted(spelt))
            notes.append(say("prompting.read_as_special", tokens=names, format=format.name))
    return tuple(notes)
