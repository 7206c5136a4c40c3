"""The header of a GGUF file, read without llama.cpp (ggml-org/ggml: docs/gguf.md)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO


@dataclass(frozen=True)
class GgufHeader:
    """What the header of a GGUF file says (ggml's docs/gguf.md).

    Attributes:
        architecture: e.g. "llama", "qwen3", "gemma3".
        name: the model's own name; may be empty.
        context_limit: tokens; None where it does not say.
        has_chat_template: whether a chat template lies in it.
    """

    architecture: str
    name: str
    context_limit: int | None
    has_chat_template: bool


_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_MOST = 1 << 31


def read_gguf(file: Path) -> GgufHeader | None:
    """The header of a GGUF file; None where it is none, or cut short."""
    try:
        with file.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                return None
            version, _, count = struct.unpack("<IQQ", stream.read(20))
            if version < 2 or count > 100_000:
                return None
            values = dict(_pair(stream) for _ in range(count))
    except (OSError, struct.error, UnicodeDecodeError, ValueError, KeyError, MemoryError):
        return None
    architecture = str(values.get("general.architecture") or "")
    window = values.get(f"{architecture}.context_length")
    return GgufHeader(
        architecture,
        str(values.get("general.name") or ""),
        window if isinstance(window, int) else None,
        bool(values.get("tokenizer.chat_template")),
    )


def _pair(stream: BinaryIO) -> tuple[str, Any]:
    key = _string(stream)
    (kind,) = struct.unpack("<I", stream.read(4))
    return key, _value(stream, kind)


def _value(stream: BinaryIO, kind: int) -> Any:
    """A value of the header; an array's content is skipped, its length returned."""
    if kind == _STRING:
        return _string(stream)
    if kind != _ARRAY:
        code = f"<{_SCALARS[kind]}"
        return struct.unpack(code, stream.read(struct.calcsize(code)))[0]
    inner, length = struct.unpack("<IQ", stream.read(12))
    if inner in _SCALARS:
        stream.seek(length * struct.calcsize(f"<{_SCALARS[inner]}"), 1)
    else:
        for _ in range(length):
            _value(stream, inner)
    return length


def _string(stream: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", stream.read(8))
    if length > _MOST:
        raise ValueError("a string of the header is too long")
    text = stream.read(length)
    if len(text) < length:
        raise ValueError("the header is cut short")
    return text.decode("utf-8", errors="replace")
