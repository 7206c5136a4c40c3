"""Streaming detokenisers: constant work per token, and whole characters only."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection, Sequence
from typing import Protocol, TypeAlias

Pieces: TypeAlias = Callable[[int], "str | None"]
"""Token id -> token as spelled in the vocabulary; None for an id outside of it."""

REPLACEMENT = "\ufffd"
SPACE = "▁"
"""SentencePiece's mark for a space."""


class Detokenizer(Protocol):
    """Turns the tokens of one reply into text as they come."""

    def add(self, token: int) -> str:
        """Return the text completed by this token; "" while a character is incomplete."""
        ...

    def flush(self) -> str:
        """Return the rest of the text; incomplete characters become U+FFFD."""
        ...


class BytesDetokenizer:
    """Detokeniser for tokens that are UTF-8 bytes; invalid bytes become U+FFFD.

    Args:
        bytes_of: token id -> its bytes; empty for a special token.
        strip_first_space: whether to remove a space at the beginning of the reply.
        errors: Python's name of the handler of invalid bytes.
    """

    def __init__(
        self,
        bytes_of: Callable[[int], bytes],
        strip_first_space: bool = False,
        errors: str = "replace",
    ) -> None:
        self._bytes_of = bytes_of
        self._strip = strip_first_space
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors)

    @property
    def within_character(self) -> bool:
        """True if the last bytes begin a character."""
        return bool(self._decoder.getstate()[0])

    def add(self, token: int) -> str:
        text = self._decoder.decode(self._bytes_of(token))
        if self._strip and text:
            self._strip = False
            return text.removeprefix(" ")
        return text

    def flush(self) -> str:
        return self._decoder.decode(b"", final=True)


def byte_level(
    pieces: Pieces, skipped: Collection[int], added: Collection[int]
) -> Callable[[int], bytes]:
    """Return a function from token id to bytes for byte-level BPE (GPT-2, Qwen, BLOOM, MOSS).

    Each character of a piece stands for a byte, by ``bytes_to_unicode`` of openai/gpt-2,
    src/encoder.py.

    Args:
        pieces: the vocabulary.
        skipped: special tokens, which are left out of the text.
        added: tokens outside the BPE vocabulary, whose pieces are plain text.
    """

    def bytes_of(token: int) -> bytes:
        piece = None if token in skipped else pieces(token)
        if piece is None:
            return b""
        if token in added or not _BYTE_OF.keys() >= set(piece):
            return piece.encode("utf-8", "replace")
        return bytes(_BYTE_OF[character] for character in piece)

    return bytes_of


def _byte_alphabet() -> dict[str, int]:
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    others = [byte for byte in range(256) if byte not in set(printable)]
    return alphabet | {chr(256 + index): byte for index, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


class SentencePieceDetokenizer(BytesDetokenizer):
    """Detokeniser for SentencePiece (LLaMA, Yi, InternLM…): "▁" is a space, "<0xE4>" a byte.

    Each invalid byte becomes one U+FFFD, as in SentencePiece itself.

    Args:
        pieces: the vocabulary.
        skipped: special tokens, which are left out of the text.
        strip_first_space: whether to remove a space at the beginning of the reply.
    """

    def __init__(
        self, pieces: Pieces, skipped: Collection[int], strip_first_space: bool = True
    ) -> None:
        def bytes_of(token: int) -> bytes:
            piece = "" if token in skipped else pieces(token) or ""
            byte = _BYTE_PIECE.fullmatch(piece)
            return bytes.fromhex(byte[1]) if byte else piece.replace(SPACE, " ").encode()

        super().__init__(bytes_of, strip_first_space, _MARK_EACH_BYTE)


_BYTE_PIECE = re.compile("<0x([0-9A-F]{2})>")
_MARK_EACH_BYTE = "chatui.mark_each_byte"
codecs.register_error(
    _MARK_EACH_BYTE,
    lambda error: (REPLACEMENT * (error.end - error.start), error.end),  # type: ignore[attr-defined]
)


class WordPieceDetokenizer:
    """Detokeniser for BertTokenizer's WordPiece, whose tokens do not record spaces.

    It puts no spaces between hanzi and Chinese punctuation, as in gpt2-chinese. It puts spaces
    between words of other scripts, and around their punctuation as in English typesetting:
    ``hello, world! (3.14, 1,000, don't, "so")``. "##" joins a token to the one before.
    """

    def __init__(self, pieces: Pieces, skipped: Collection[int]) -> None:
        self._pieces = pieces
        self._skipped = skipped
        self._before = ""
        self._last = ""
        self._held = ""
        self._in_contraction = False
        self._open: set[str] = set()

    def add(self, token: int) -> str:
        piece = None if token in self._skipped else self._pieces(token)
        if not piece:
            return ""
        if piece.startswith("##") and len(piece) > 2:
            text = self._release(piece) + piece[2:]
            self._last += piece[2:]
            return text
        text = self._release(piece)
        if self._depends_on_next(piece):
            self._held = piece
            return text
        return text + self._spaced(piece)

    def flush(self) -> str:
        return self._release("")

    def _depends_on_next(self, piece: str) -> bool:
        """True if the next token decides whether a space precedes ``piece``.

        An apostrophe may open a quotation; two digits after "1," may be the start of three.
        """
        if piece == "'":
            return _is_word(self._last[-1:])
        return self._last == "," and self._before.isdigit() and len(piece) == 2 and piece.isdigit()

    def _release(self, following: str) -> str:
        """Return the text held back, spaced by the token that follows."""
        held, self._held = self._held, ""
        if not held:
            return ""
        is_open = held in self._open
        if held.isdigit():
            joined = following.startswith("##") and following[2:].isdigit()
        elif following in _CONTRACTIONS or (len(self._last) == 1 and not is_open):
            joined = self._in_contraction = True
        else:
            joined = not (is_open or _is_word(following[:1]))
        if not joined:
            return self._spaced(held)
        self._before, self._last = self._last, held
        return held

    def _spaced(self, text: str) -> str:
        if self._in_contraction:
            self._in_contraction = False
            self._last = self._before + self._last + text
            return text
        space = " " if self._has_space(text) else ""
        self._before, self._last = self._last, text
        return space + text

    def _has_space(self, text: str) -> bool:
        """True if a space belongs between the last token and ``text``."""
        last = self._last[-1:]
        after_text = _is_word(last) or last in _CLOSING
        if text in _QUOTES:
            self._open ^= {text}
            return text in self._open and after_text
        if text in _OPENING:
            return after_text
        if not _is_word(text[0]):
            return False
        if last in _QUOTES:
            return last not in self._open
        if last == "." and (
            self._before == "www" or text in _DOMAINS or len(self._before) == len(text) == 1
        ):
            # "www.example.com", "e.g."
            return False
        if last in {".", ",", ":"} and self._before[-1:].isdigit() and text[0].isdigit():
            # "3.14", "10:30", "1,000", but "1, 2"
            return last == "," and len(text) < 3
        return after_text


_QUOTES = frozenset("\"'")
_OPENING = frozenset("([{$#")
_CLOSING = frozenset(",.;:!?)]}%")
_CONTRACTIONS = frozenset(("s", "t", "d", "m", "re", "ve", "ll"))
_DOMAINS = frozenset(("com", "cn", "org", "net", "edu", "gov", "io"))
_FIRST_CJK = "\u2e80"


def _is_word(character: str) -> bool:
    """True for letters and digits of scripts that separate words by spaces."""
    return character.isalnum() and character < _FIRST_CJK


class WindowDetokenizer:
    """Detokeniser for any other tokenizer: decodes the last tokens with and without the new one.

    As ``decode_token`` of text-generation-inference: text that ends in U+FFFD is held back, for at
    most 8 tokens.
    """

    _MOST_HELD = 8

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._shown = 0

    def add(self, token: int) -> str:
        self._ids.append(token)
        before, now = self._decode(self._ids[: self._shown]), self._decode(self._ids)
        waiting = len(self._ids) - self._shown
        if now.endswith(REPLACEMENT) and waiting < self._MOST_HELD:
            return ""
        self._ids = self._ids[self._shown :]
        self._shown = len(self._ids)
        return now[len(before) :]

    def flush(self) -> str:
        before, now = self._decode(self._ids[: self._shown]), self._decode(self._ids)
        return now[len(before) :]
