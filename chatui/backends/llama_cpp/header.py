"""The beginning of a GGUF file: whether it is one, and how long its model's context is.

The layout is that of ggml's docs/gguf.md: magic, version, counts, then key-value pairs.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from chatui.errors import ChatuiError
from chatui.locales import say

_MAGIC = b"GGUF"
_LONGEST_KEY_BYTES = 1 << 16
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_INTEGERS = {4: "<I", 5: "<i", 10: "<Q", 11: "<q"}
_STRING, _ARRAY = 8, 9


def trained_context(path: Path) -> int:
    """Tokens that the model was trained to read; 0 where the file does not say.

    Raises:
        ChatuiError: the file cannot be read, is no GGUF file, or ends in its header.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) != _MAGIC:
                raise ChatuiError(say("backends.llama.not_gguf", path=path))
            return _find_context(file)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ChatuiError(say("backends.llama.unreadable", path=path, reason=reason)) from error
    except (struct.error, KeyError, ValueError) as error:
        raise ChatuiError(say("backends.llama.damaged", path=path)) from error


def _find_context(file: BinaryIO) -> int:
    _version, _tensors, pairs = struct.unpack("<IQQ", file.read(20))
    for _ in range(pairs):
        key = file.read(_length(file, _LONGEST_KEY_BYTES))
        kind = _number(file, "<I")
        if key.endswith(b".context_length") and kind in _INTEGERS:
            return _number(file, _INTEGERS[kind])
        _skip(file, kind)
    return 0


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        file.seek(_length(file), 1)
    elif kind == _ARRAY:
        element, count = struct.unpack("<IQ", file.read(12))
        if element in (_STRING, _ARRAY):
            for _ in range(count):
                _skip(file, element)
        else:
            file.seek(_SIZES[element] * count, 1)
    else:
        file.seek(_SIZES[kind], 1)


def _length(file: BinaryIO, longest: int = 1 << 32) -> int:
    length = _number(file, "<Q")
    if length > longest:
        raise ValueError("a length beyond reason")
    return length


def _number(file: BinaryIO, form: str) -> int:
    number: int = struct.unpack(form, file.read(struct.calcsize(form)))[0]
    return number
