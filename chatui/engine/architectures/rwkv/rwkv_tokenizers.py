"""Find and load the tokenizer of an RWKV checkpoint.

The World models' tokenizer takes the longest matching byte string at each position
(BlinkDL/ChatRWKV, tokenizer/rwkv_tokenizer.py and rwkv_vocab_v20230424.txt).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from chatui.engine.codec import Codec, make_codec
from chatui.engine.detokenizer import BytesDetokenizer
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import without_surrogates

END_OF_TEXT = 0
"""Id of the end-of-text token in both vocabularies."""

WORLD_ROWS = 65536
"""Rows of a World model's head; its vocabulary has fewer tokens."""

_PILE = ("20B_tokenizer.json", "*20B_tokenizer.json")
_ANY = "tokenizer.json"
_WORLD = ("rwkv_vocab_v20230424.txt", "*rwkv_vocab*.txt", "*rwkv_vocab*.json")


def find_tokenizer(given: Path | None, folder: Path, rows: int) -> Path:
    """Return the file of the tokenizer.

    It is searched in the given path, the weights' folder, the folder above it, and a folder
    ``tokenizers`` in either. The World models' vocabulary is also searched in the ``rwkv`` package,
    if that is installed.

    Args:
        given: a file, or a folder to search first; None for none.
        folder: the folder of the weights.
        rows: rows of the head.

    Raises:
        ChatuiError: there is no tokenizer.
    """
    if given is not None and given.is_file():
        return given
    own_folders = [given, folder] if given is not None else [folder]
    folders = [*own_folders, folder / "tokenizers", folder.parent, folder.parent / "tokenizers"]
    if rows == WORLD_ROWS:
        found = _first_match([*folders, *_package_folders()], _WORLD)
        missing = "rwkv.no_world_vocabulary"
    else:
        found = _first_match(folders, _PILE) or _first_match(own_folders, (_ANY, *_WORLD))
        missing = "rwkv.no_tokenizer"
    if found is None:
        raise ChatuiError(say(missing, folder=folder))
    return found


def _package_folders() -> list[Path]:
    package = find_spec("rwkv")
    locations = package.submodule_search_locations if package is not None else None
    return [Path(location) for location in locations or ()]


def _first_match(folders: list[Path], names: tuple[str, ...]) -> Path | None:
    """Return the first file found; the first name is searched in all folders before the second."""
    found = (file for name in names for folder in folders for file in sorted(folder.glob(name)))
    return next(found, None)


def load_codec(file: Path, rows: int) -> Codec:
    """Load a codec from a tokenizer file.

    Args:
        file: 20B_tokenizer.json (Pile, Raven) or the World models' vocabulary.
        rows: rows of the head.

    Raises:
        ChatuiError: the file cannot be read, or has more tokens than the model.
    """
    if "vocab" in file.name:
        return _world_codec(file, rows)
    try:
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file))
    except Exception as error:  # The library raises a bare Exception.
        reason = str(error).split("\n")[0]
        raise ChatuiError(say("rwkv.broken_vocabulary", file=file, reason=reason)) from error
    _check(file, max(tokenizer.get_vocab().values(), default=0), rows)
    return _pile_codec(tokenizer)


def _check(file: Path, largest: int, rows: int) -> None:
    if largest >= rows:
        raise ChatuiError(say("rwkv.tokenizer_differs", file=file, tokens=largest + 1, rows=rows))


def _pile_codec(tokenizer: PreTrainedTokenizerFast) -> Codec:
    codec = make_codec(tokenizer, special_tokens=False)
    vocabulary = tokenizer.get_vocab()
    newline, blank_line = vocabulary.get("Ċ"), vocabulary.get("ĊĊ")

    def encode(text: str) -> list[int]:
        ids = codec.encode(text)
        # The models were trained with two newline tokens there (ChatRWKV, v2/chat.py, fix_tokens).
        if newline is not None and ids[-1:] == [blank_line]:
            ids[-1:] = [newline, newline]
        return ids

    return replace(codec, encode=encode, encode_continuation=None)


def _world_codec(file: Path, rows: int) -> Codec:
    vocabulary = read_world_vocabulary(file)
    _check(file, max(vocabulary.tokens), rows)

    def piece(token: int) -> str:
        return vocabulary.bytes_of(token).decode("utf-8", "replace")

    return Codec(vocabulary.encode, piece, lambda: BytesDetokenizer(vocabulary.bytes_of))


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
