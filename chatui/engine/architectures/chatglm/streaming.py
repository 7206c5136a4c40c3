"""Streaming decode of ChatGLM-6B's tokens, with the same text as decoding them all at once.

The steps of the original decode, in order:
- SentencePiece turns runs of byte pieces into characters, and drops spaces at the start;
- "<n>", "<|tab|>" and "<|blank_2|>" … "<|blank_80|>" become white space;
- transformers' clean_up_tokenization_spaces removes the space before some punctuation.
Each step is a filter that returns the text that can no longer change, and holds back at most a
dozen characters. The cost of a token does not depend on the text before it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from chatui.engine.detokenizer import SPACE, SentencePieceDetokenizer

MAX_BLANKS = 80
WHITESPACE = {"<n>": "\n", "<|tab|>": "\t"} | {
    f"<|blank_{n}|>": " " * n for n in range(2, MAX_BLANKS + 1)
}
# Replacements in the order of transformers' PreTrainedTokenizerBase.clean_up_tokenization.
CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)

_MARKUP = re.compile("|".join(re.escape(token) for token in WHITESPACE))
_MARKUP_STARTS = frozenset(token[:n] for token in WHITESPACE for n in range(1, len(token)))


def restore_whitespace(text: str) -> str:
    """Replace the tokens for line ends, tabs and runs of spaces by that white space."""
    return _MARKUP.sub(lambda match: WHITESPACE[match[0]], text)


class _Replacement:
    """A streaming `str.replace`."""

    def __init__(self, old: str, new: str) -> None:
        self._old = old
        self._new = new
        self._starts = tuple(old[:n] for n in range(len(old) - 1, 0, -1))
        self._held = ""

    def push(self, text: str) -> str:
        *done, rest = (self._held + text).split(self._old)
        self._held = next((start for start in self._starts if rest.endswith(start)), "")
        return self._new.join((*done, rest[: len(rest) - len(self._held)]))

    def flush(self) -> str:
        held, self._held = self._held, ""
        return held


class _Whitespace:
    """A streaming `restore_whitespace`."""

    def __init__(self) -> None:
        self._held = ""

    def push(self, text: str) -> str:
        text = restore_whitespace(self._held + text)
        start = text.rfind("<")
        self._held = text[start:] if start >= 0 and text[start:] in _MARKUP_STARTS else ""
        return text[: len(text) - len(self._held)]

    def flush(self) -> str:
        held, self._held = self._held, ""
        return held


class ChatGLMStreamCleaner:
    """A streaming filter from SentencePiece's raw text to the final text.

    Args:
        clean_up: whether to remove spaces before punctuation, as the original does.
    """

    def __init__(self, clean_up: bool = True) -> None:
        rules = CLEAN_UP if clean_up else ()
        self._filters: list[_Whitespace | _Replacement] = [_Whitespace()]
        self._filters.extend(_Replacement(old, new) for old, new in rules)

    def push(self, text: str) -> str:
        """Add raw text; return the text that can no longer change."""
        for filter_ in self._filters:
            text = filter_.push(text)
        return text

    def flush(self) -> str:
        """Return the text held back, at the end of the input."""
        text = ""
        for filter_ in self._filters:
            text = filter_.push(text) + filter_.flush()
        return text


class ChatGLMDetokenizer(SentencePieceDetokenizer):
    """A streaming decoder whose joined output equals `tokenizer.decode(ids)`.

    Args:
        tokenizer: a `ChatGLMTokenizer`.
        skipped: ids without text.
    """

    def __init__(self, tokenizer: Any, skipped: Collection[int]) -> None:
        super().__init__(self._piece, skipped, strip_first_space=False)
        self._piece_text = tokenizer.piece_text
        self._cleaner = ChatGLMStreamCleaner(tokenizer.clean_up_tokenization_spaces)
        self._at_start = True

    def _piece(self, token: int) -> str | None:
        piece: str | None = self._piece_text(token)
        # SentencePiece drops the spaces that a text begins with.
        return piece.removeprefix(SPACE) if self._at_start and piece and not self._bytes else piece

    def add(self, token: int) -> str:
        text = super().add(token)
        self._at_start = self._at_start and not text
        return self._cleaner.push(text)

    def flush(self) -> str:
        return self._cleaner.push(super().flush()) + self._cleaner.flush()
