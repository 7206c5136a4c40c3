"""The header of a GGUF file, read without llama.cpp (ggml-org/ggml: docs/gguf.md)."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from chatui.catalog.memory_need import CacheSize, cache_size
from chatui.catalog.model_files import check_not_pointer
from chatui.errors import ChatuiError
from chatui.locales import say

CHUNK_TOKENS = 128
"""llama.cpp reads a prompt in pieces that begin at multiples of this, always the same ones."""


@dataclass(frozen=True)
class GgufHeader:
    """What the header of a GGUF file says (ggml's docs/gguf.md).

    Attributes:
        architecture: e.g. "llama", "qwen3", "gemma3".
        name: the model's own name; may be empty.
        context_limit: tokens; None if it does not say.
        cache: size of its KV cache, with the scores that llama.cpp computes over it.
        has_chat_template: whether a chat template lies in it.
        tensor_count: 0 if the file holds a vocabulary alone.
        least_bytes: size of the file with all tensors; less for types that are not known here.
    """

    architecture: str
    name: str
    context_limit: int | None
    cache: CacheSize
    has_chat_template: bool
    tensor_count: int
    least_bytes: int


_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST = 1 << 31
_MOST_ENTRIES = 100_000
_BLOCKS = {
    0: (1, 4),
    1: (1, 2),
    30: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    9: (32, 36),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
}
"""Numbers and bytes of a block, by the type of a tensor: F32, F16, BF16; Q4_0 … Q8_1; Q2_K … Q6_K
(ggml: src/ggml-common.h)."""


_CONFIG_KEYS = {
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    # A list, one number a layer, is counted as if no heads shared their keys.
    "num_key_value_heads": "attention.head_count_kv",
    "hidden_size": "embedding_length",
}
"""Names in a config.json, and the keys of a header without the architecture before them."""


def read_gguf(file: Path) -> GgufHeader | None:
    """The header of a GGUF file; None if it is none, or cut short."""
    try:
        with file.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                return None
            version, tensors, count = struct.unpack("<IQQ", stream.read(20))
            if version < 2 or max(count, tensors) > _MOST_ENTRIES:
                return None
            values = dict(_pair(stream) for _ in range(count))
            data = max((_tensor_end(stream) for _ in range(tensors)), default=0)
            alignment = values.get("general.alignment", 32)
            least = -(-stream.tell() // alignment) * alignment + data if tensors else 0
    except (OSError, struct.error, ValueError, KeyError, TypeError, ArithmeticError, MemoryError):
        return None
    architecture = str(values.get("general.architecture") or "")
    own = {key.removeprefix(f"{architecture}."): value for key, value in values.items()}
    window = own.get("context_length")
    return GgufHeader(
        architecture,
        str(values.get("general.name") or ""),
        window if isinstance(window, int) else None,
        _cache_size(own),
        bool(values.get("tokenizer.chat_template")),
        tensors,
        least,
    )


def _cache_size(values: dict[str, Any]) -> CacheSize:
    """What a token takes, by the keys that docs/gguf.md lists; nothing if they are not there."""
    key, value = (values.get(f"attention.{name}_length") for name in ("key", "value"))
    width = (key + value) // 2 if isinstance(key, int) and isinstance(value, int) else None
    heads = values.get("attention.head_count")
    named = {name: values.get(key) for name, key in _CONFIG_KEYS.items()}
    size = cache_size({**named, "head_dim": width})
    # Scores of a chunk's tokens, twice, in float32: four of the numbers that a cache holds.
    scores = 4 * CHUNK_TOKENS * heads if isinstance(heads, int) else 0
    return CacheSize(size.per_token + scores)


def check_gguf(file: Path) -> GgufHeader:
    """The header of a GGUF file that holds a whole model.

    Raises:
        ChatuiError: it cannot be read, is none, is cut short, or holds a vocabulary alone.
    """
    try:
        with file.open("rb") as stream:
            is_gguf = stream.read(4) == b"GGUF"
        size = file.stat().st_size
    except OSError as error:
        raise ChatuiError(say("catalog.unreadable", file=file, reason=error)) from error
    if not is_gguf:
        check_not_pointer(file)
        raise ChatuiError(say("catalog.not_gguf", file=file))
    header = read_gguf(file)
    if header is None:
        raise ChatuiError(say("catalog.broken_gguf", file=file, actual=size))
    if not header.tensor_count:
        raise ChatuiError(say("catalog.only_vocabulary", file=file))
    if size < header.least_bytes:
        least = header.least_bytes
        raise ChatuiError(say("catalog.truncated_gguf", file=file, actual=size, expected=least))
    return header


def _tensor_end(stream: BinaryIO) -> int:
    """Where a tensor's data ends, from the start of all data."""
    _string(stream)
    (dimensions,) = struct.unpack("<I", stream.read(4))
    if dimensions > 8:
        raise ValueError("a tensor has too many dimensions")
    shape = struct.unpack(f"<{dimensions}Q", stream.read(8 * dimensions))
    kind, offset = struct.unpack("<IQ", stream.read(12))
    numbers, size = _BLOCKS.get(kind, (1, 0))
    return int(offset + math.prod(shape) // numbers * size)


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
