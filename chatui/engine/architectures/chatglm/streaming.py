"""Text out of ChatGLM-6B's tokens piece by piece, equal at its end to the decode of all of them.

What stands between a token and its text, in the order of the original decode:
- SentencePiece: runs of byte pieces become characters, and spaces at the very start go;
- "<n>", "<|tab|>" and "<|blank_2|>" … "<|blank_80|>" become the white space that they stand for;
- transformers' clean_up_tokenization_spaces takes the space before some punctuation away.
Each step is a filter here that gives out what can no longer change and holds back the rest, a
dozen characters at most, so that a token costs the same whatever stands before it.
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
# In the order in which transformers applies them (PreTrainedTokenizerBase.clean_up_tokenization).
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
    """Replace the tokens that stand for line ends, tabs and runs of spaces."""
    return _MARKUP.sub(lambda match: WHITESPACE[match[0]], text)


class _Replacement:
    """`str.replace` on text that comes in pieces."""

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
    """`restore_whitespace` on text that comes in pieces."""

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
    """Turns raw text of SentencePiece, as it comes, into the text that the full decode gives.

    Args:
        clean_up: whether spaces before punctuation go, as the original has it.
    """

    def __init__(self, clean_up: bool = True) -> None:
        rules = CLEAN_UP if clean_up else ()
        self._filters: list[_Whitespace | _Replacement] = [_Whitespace()]
        self._filters.extend(_Replacement(old, new) for old, new in rules)

    def push(self, text: str) -> str:
        """Take more raw text and give the text that can no longer change."""
        for filter_ in self._filters:
            text = filter_.push(text)
        return text

    def flush(self) -> str:
        """Give what was held back: no more text comes."""
        text = ""
        for filter_ in self._filters:
            text = filter_.push(text) + filter_.flush()
        return text


class ChatGLMDetokenizer(SentencePieceDetokenizer):
    """Token ids to text, one at a time; all that it gave, joined, is `tokenizer.decode(ids)`.

    Args:
        tokenizer: a `ChatGLMTokenizer`.
        skipped: ids that are no text.
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
