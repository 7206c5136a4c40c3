"""Write tiny models in real layouts."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LLAMA = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "max_position_embeddings": 2048,
}


def write_model(folder: Path, config: dict[str, Any], **files: str | bytes) -> Path:
    """Write a model's folder with a few bytes of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(bytes(64))
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def gguf(*, tensors: Sequence[Sequence[int]] = ((8,),), **values: str | int) -> bytes:
    """Return a GGUF file with the given keys ("__" for "."), after an array of strings.

    Args:
        tensors: shapes of its float32 tensors of zeros; none for a file with only a vocabulary.
    """

    def string(text: str) -> bytes:
        data = text.encode()
        return struct.pack("<Q", len(data)) + data

    pairs = [string("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 2) + string("a") * 2]
    pairs += [string("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, 2) + bytes(8)]
    for name, value in values.items():
        key = string(name.replace("__", "."))
        if isinstance(value, str):
            pairs.append(key + struct.pack("<I", 8) + string(value))
        else:
            pairs.append(key + struct.pack("<II", 4, value))
    described, size = b"", 0
    for number, shape in enumerate(tensors):
        dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        described += string(f"t{number}") + dimensions + struct.pack("<IQ", 0, size)
        size += math.prod(shape) * 4
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs) + described
    return head + bytes(-len(head) % 32) * bool(tensors) + bytes(size)
