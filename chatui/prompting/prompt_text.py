"""Prompts with literal stretches, and their encoding into token ids.

A tokenizer turns the spelling of a special token (``<|im_end|>``) into that token. In a prompt
rendered by a chat template, only spellings written by the template may become tokens: otherwise, a
message could end the user's turn and begin another.
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
    """A prompt with literal stretches, in which spellings of special tokens are text.

    Attributes:
        literal: the stretches, in order, without overlaps.
    """

    literal: tuple[Span, ...]

    def __new__(cls, text: str, literal: tuple[Span, ...] = ()) -> PromptText:
        prompt = super().__new__(cls, text)
        prompt.literal = literal
        return prompt


class LiteralText(str):
    """The text of a message, as a part for :func:`joined`."""


def joined(*parts: str) -> PromptText:
    """Join parts to a prompt in which each :class:`LiteralText` is literal."""
    literal: list[Span] = []
    at = 0
    for part in parts:
        if isinstance(part, LiteralText):
            literal.append((at, at + len(part)))
        at += len(part)
    return PromptText("".join(parts), tuple(literal))


class TokenFinder:
    """Finds the spellings of special tokens in a text; the longest match wins.

    Args:
        tokens: spellings of the special tokens.
        any_width: treat full-width characters as ASCII, like tokenizers with NFKC.
    """

    def __init__(self, tokens: Collection[str], *, any_width: bool = False) -> None:
        self._any_width = any_width
        self._tokens = frozenset(self._folded(token) for token in tokens if token)
        self._lengths = sorted({len(token) for token in self._tokens}, reverse=True)
        begins = {token[0] for token in self._tokens}
        self._begins = re.compile("[" + "".join(map(re.escape, begins)) + "]" if begins else "(?!)")

    def find(self, text: str, start: int = 0, end: int | None = None) -> Iterator[Span]:
        """Yield the stretches of ``text[start:end]`` that spell a special token, in order."""
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
    """Return the token ids of a prompt, with special tokens in literal stretches as text.

    If a literal stretch spells a special token, the text is cut after the first character of the
    spelling and its parts are encoded separately, so that no part contains the spelling.

    Args:
        text: a :class:`PromptText`, or a string without literal stretches.
        finder: finds the tokenizer's special tokens.
        first: function that encodes the first part, with the tokenizer's prefix, e.g. BOS.
        later: function that encodes a text without a prefix.
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
    """Return the token ids of ``text`` in the middle of a line.

    Some tokenizers insert a space before a text. It is therefore encoded after another character,
    whose ids are removed.
    """
    for character in ("\n", "。", "|"):
        before, ids = encode(character), encode(character + text)
        if before and ids[: len(before)] == before:
            return ids[len(before) :]
    return encode(text)


def prompt_notes(
    format: PromptFormat,
    history: Sequence[Exchange],
    request: GenerateRequest,
    special: TokenFinder,
) -> tuple[str, ...]:
    """Return notes for the user about a prompt.

    Args:
        history: rounds in the prompt.
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
