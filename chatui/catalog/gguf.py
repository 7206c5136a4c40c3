"""Read the header of a GGUF file without llama.cpp (ggml-org/ggml: docs/gguf.md)."""

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
"""Tokens in each piece of a prompt that llama.cpp reads; pieces begin at multiples of this."""


@dataclass(frozen=True)
class GgufHeader:
    """The header of a GGUF file.

    Attributes:
        architecture: e.g. "llama", "qwen3", "gemma3".
        context_limit: tokens; None if not stated.
        cache: size of the KV cache, including the attention scores that llama.cpp allocates.
        has_chat_template: whether the file holds a chat template.
        tensor_count: 0 if the file holds only a vocabulary.
        least_bytes: smallest size of the complete file; tensors of unknown types count as empty.
    """

    architecture: str
    context_limit: int | None
    cache: CacheSize
    has_chat_template: bool
    tensor_count: int
    least_bytes: int


_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_STRING = 1 << 31
_MOST_ENTRIES = 100_000
_BLOCKS = {
    1: {0: 4, 1: 2, 30: 2},
    32: {2: 18, 3: 20, 6: 22, 7: 24, 8: 34, 9: 36},
    256: {10: 84, 11: 110, 12: 144, 13: 176, 14: 210},
}
"""Numbers in a block -> tensor type -> bytes of a block: F32, F16, BF16; Q4_0 … Q8_1; Q2_K … Q6_K
(ggml: src/ggml-common.h)."""


_CONFIG_KEYS = {
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    # A list with one number a layer is ignored: heads then count as not sharing keys.
    "num_key_value_heads": "attention.head_count_kv",
    "hidden_size": "embedding_length",
}
"""Names in a config.json -> keys of a header, without the leading architecture."""


def read_gguf(file: Path) -> GgufHeader | None:
    """Read a file's GGUF header; None if there is no complete header."""
    try:
        with file.open("rb") as stream:
            if stream.read(4) != b"GGUF":
                return None
            version, tensors, count = _read(stream, "IQQ")
            if version < 2 or max(count, tensors) > _MOST_ENTRIES:
                return None
            values = {_string(stream): _value(stream, *_read(stream, "I")) for _ in range(count)}
            data = max((_tensor_end(stream) for _ in range(tensors)), default=0)
            alignment = values.get("general.alignment", 32)
            least = -(-stream.tell() // alignment) * alignment + data if tensors else 0
    except (OSError, struct.error, ValueError, LookupError, TypeError, ArithmeticError):
        return None
    except (MemoryError, RecursionError):
        # A long string, or arrays nested too deeply.
        return None
    architecture = str(values.get("general.architecture") or "")
    model_values = {key.removeprefix(f"{architecture}."): value for key, value in values.items()}
    window = model_values.get("context_length")
    return GgufHeader(
        architecture=architecture,
        context_limit=window if isinstance(window, int) else None,
        cache=_cache_size(model_values),
        has_chat_template=bool(values.get("tokenizer.chat_template")),
        tensor_count=tensors,
        least_bytes=least,
    )


def _cache_size(values: dict[str, Any]) -> CacheSize:
    """Return the cache size by the keys listed in docs/gguf.md; zero without them."""
    key, value = (values.get(f"attention.{name}_length") for name in ("key", "value"))
    width = (key + value) // 2 if isinstance(key, int) and isinstance(value, int) else None
    heads = values.get("attention.head_count")
    named = {name: values.get(key) for name, key in _CONFIG_KEYS.items()}
    size = cache_size({**named, "head_dim": width})
    # Two buffers of float32 scores for each token of a chunk; a cache number has two bytes.
    scores = 4 * CHUNK_TOKENS * heads if isinstance(heads, int) else 0
    return CacheSize(size.per_token + scores)


def check_gguf(file: Path) -> GgufHeader:
    """Read the header of a GGUF file and check that it holds a complete model.

    Raises:
        ChatuiError: it cannot be read, is not GGUF, is truncated, or holds only a vocabulary.
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


def _read(stream: BinaryIO, code: str) -> tuple[Any, ...]:
    """Read little-endian numbers by their codes for ``struct``."""
    return struct.unpack(f"<{code}", stream.read(struct.calcsize(f"<{code}")))


def _tensor_end(stream: BinaryIO) -> int:
    """Return the offset of the end of a tensor's data, in bytes from the start of all data."""
    _string(stream)
    (dimensions,) = _read(stream, "I")
    if dimensions > 8:
        raise ValueError("a tensor has too many dimensions")
    *shape, kind, offset = _read(stream, f"{dimensions}QIQ")
    for numbers, sizes in _BLOCKS.items():
        if kind in sizes:
            return int(offset + math.prod(shape) // numbers * sizes[kind])
    return int(offset)


def _value(stream: BinaryIO, kind: int) -> Any:
    """Read a value; of an array, skip the content and return the length."""
    if kind == _STRING:
        return _string(stream)
    if kind != _ARRAY:
        return _read(stream, _SCALARS[kind])[0]
    inner, length = _read(stream, "IQ")
    if inner in _SCALARS:
        stream.seek(length * struct.calcsize(f"<{_SCALARS[inner]}"), 1)
    else:
        for _ in range(length):
            _value(stream, inner)
    return length


def _string(stream: BinaryIO) -> str:
    (length,) = _read(stream, "Q")
    if length > _LONGEST_STRING:
        raise ValueError("a string of the header is too long")
    text = stream.read(length)
    if len(text) < length:
        raise ValueError("the header is cut short")
    return text.decode("utf-8", errors="replace")
