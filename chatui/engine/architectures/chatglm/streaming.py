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
from collections.abc import Sequence
from typing import Protocol

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
REPLACEMENT = "\ufffd"
SPACE_MARK = "▁"

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


class PieceSource(Protocol):
    """What a detokeniser needs of `ChatGLMTokenizer`."""

    clean_up_tokenization_spaces: bool

    @property
    def all_special_ids(self) -> Sequence[int]: ...

    @property
    def pad_token_id(self) -> int: ...

    def piece_text(self, token_id: int) -> str | bytes | None: ...


class ChatGLMDetokenizer:
    """Token ids to text, one at a time; all that it gave, joined, is `tokenizer.decode(ids)`.

    Args:
        tokenizer: a `ChatGLMTokenizer`.
        skip_special_tokens: as in `decode`.
    """

    def __init__(self, tokenizer: PieceSource, skip_special_tokens: bool = False) -> None:
        self._piece_text = tokenizer.piece_text
        self._skipped = {tokenizer.pad_token_id}
        if skip_special_tokens:
            self._skipped.update(tokenizer.all_special_ids)
        self._cleaner = ChatGLMStreamCleaner(tokenizer.clean_up_tokenization_spaces)
        self._bytes = bytearray()
        self._at_start = True

    def add(self, token_id: int) -> str:
        """Take the next token and give the text that can no longer change."""
        if token_id in self._skipped:
            return ""
        piece = self._piece_text(token_id)
        if piece is None:
            return ""
        if isinstance(piece, bytes):
            self._bytes += piece
            text = take_characters(self._bytes, final=False)
        else:
            text = take_characters(self._bytes, final=True)
            if self._at_start and not text:
                piece = piece.removeprefix(SPACE_MARK)
            text += piece.replace(SPACE_MARK, " ")
        self._at_start = self._at_start and not text
        return self._cleaner.push(text)

    def flush(self) -> str:
        """Give what was held back: no more tokens come."""
        rest = take_characters(self._bytes, final=True)
        return self._cleaner.push(rest) + self._cleaner.flush()


def take_characters(buffer: bytearray, final: bool) -> str:
    """Take the whole characters off the front of a run of byte pieces.

    As SentencePiece does, each byte that begins no valid UTF-8 character becomes one U+FFFD.

    Args:
        buffer: UTF-8, whose taken bytes are removed.
        final: whether the run has ended, so that a character that is not whole never will be.
    """
    text = []
    while buffer:
        lead = buffer[0]
        size = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        if len(buffer) < size and not final and 0xC2 <= lead <= 0xF4:
            break
        try:
            text.append(buffer[:size].decode())
        except UnicodeDecodeError:
            text.append(REPLACEMENT)
            size = 1
        del buffer[:size]
    return "".join(text)
