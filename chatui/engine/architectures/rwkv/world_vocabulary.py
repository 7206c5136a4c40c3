"""The World models' tokenizer, which takes the longest matching byte string at each position.

Source: BlinkDL/ChatRWKV, tokenizer/rwkv_tokenizer.py and rwkv_vocab_v20230424.txt.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from pathlib import Path

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import without_surrogates


class WorldVocabulary:
    """A mapping between token ids and byte strings.

    Args:
        tokens: the bytes of each id; each of the 256 bytes must be a token.

    Raises:
        ValueError: a byte has no token.
    """

    def __init__(self, tokens: Mapping[int, bytes]) -> None:
        self.tokens = dict(tokens)
        self._ids = {token: id for id, token in tokens.items()}
        lengths: dict[bytes, set[int]] = {}
        for token in self._ids:
            lengths.setdefault(token[:2], set()).add(len(token))
        self._lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}
        missing = [byte for byte in range(256) if bytes([byte]) not in self._ids]
        if missing:
            raise ValueError(say("rwkv.no_byte", byte=missing[0]))

    def bytes_of(self, token: int) -> bytes:
        """Return a token's bytes; b"" for ids outside the vocabulary, such as end-of-text (0)."""
        return self.tokens.get(token, b"")

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``; a lone surrogate becomes U+FFFD."""
        raw = without_surrogates(text).encode()
        ids: list[int] = []
        position = 0
        while position < len(raw):
            for length in self._lengths.get(raw[position : position + 2], ()):
                id = self._ids.get(raw[position : position + length])
                if id is not None:
                    break
            else:
                id = self._ids[raw[position : position + 1]]
            ids.append(id)
            position += len(self.tokens[id])
        return ids


def read_world_vocabulary(file: Path) -> WorldVocabulary:
    """Read a vocabulary file.

    A text file has lines of ``id literal length``, with a Python string or bytes literal. A
    ``.json`` file, as used by web-rwkv, maps ids to strings or lists of bytes. Files of
    RWKV-World-HF-Tokenizer map strings to ids and lack the tokens of partial characters; they are
    refused.

    Raises:
        ChatuiError: the file cannot be read, is truncated, or has another format.
    """
    try:
        text = file.read_text(encoding="utf-8")
        tokens = _parse_json(text) if file.suffix == ".json" else _parse_lines(text)
        return WorldVocabulary(tokens)
    except (OSError, ValueError, SyntaxError, RecursionError, TypeError, MemoryError) as error:
        raise ChatuiError(say("rwkv.broken_vocabulary", file=file, reason=error)) from error


def _parse_lines(text: str) -> dict[int, bytes]:
    tokens: dict[int, bytes] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        id, _, rest = line.partition(" ")
        literal, _, length = rest.rpartition(" ")
        value = ast.literal_eval(literal)
        token = value.encode() if isinstance(value, str) else value
        if not isinstance(token, bytes) or len(token) != int(length):
            raise ValueError(say("rwkv.line", number=number))
        tokens[int(id)] = token
    return tokens


def _parse_json(text: str) -> dict[int, bytes]:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError(say("engine.no_object"))
    if any(isinstance(value, int) for value in values.values()):
        raise ValueError(say("rwkv.lost_tokens"))
    return {
        int(id): value.encode() if isinstance(value, str) else bytes(value)
        for id, value in values.items()
    }
