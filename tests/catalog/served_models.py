"""Repositories for the server on loopback, and functions that fetch from them."""

from __future__ import annotations

import json
import os
from pathlib import Path

from hub_server import HubServer, Repository

from chatui.catalog.fetching.fetch import Fetch
from chatui.catalog.fetching.planning import plan
from chatui.settings import Settings

SHARD_BYTES = 300_000
FIRST_SHARD = "model-00001-of-00003.safetensors"


def model_folder(folder: Path, *, shards: int = 3, shard_bytes: int = SHARD_BYTES) -> Path:
    """Write a sharded LLaMA with both forms of weights and files that are not needed."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 64}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text("{}")
    (folder / "tokenizer.model").write_bytes(os.urandom(2000))
    (folder / "tokenizer_config.json").write_text('{"chat_template": "x"}')
    names = [f"model-{n:05}-of-{shards:05}.safetensors" for n in range(1, shards + 1)]
    for name in names:
        (folder / name).write_bytes(os.urandom(shard_bytes))
    index = {"metadata": {}, "weight_map": {str(n): name for n, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "pytorch_model.bin").write_bytes(os.urandom(20_000))
    (folder / "README.md").write_text("# A model")
    (folder / "onnx").mkdir(exist_ok=True)
    (folder / "onnx" / "model.onnx").write_bytes(os.urandom(20_000))
    return folder


NEEDED = {
    "config.json",
    "generation_config.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "model.safetensors.index.json",
    *(f"model-{n:05}-of-00003.safetensors" for n in (1, 2, 3)),
}
"""The files of :func:`model_folder` that are needed."""


def serve_model(server: HubServer, tmp_path: Path, hub_id: str = "you/model") -> Repository:
    return server.add(hub_id, model_folder(tmp_path / "served" / hub_id))


def serve_file(server: HubServer, tmp_path: Path, size: int, hub_id: str = "you/one") -> bytes:
    """Serve a repository whose weights are one file; return the file's content."""
    folder = tmp_path / "served" / hub_id
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    content = os.urandom(size)
    (folder / "model.safetensors").write_bytes(content)
    server.add(hub_id, folder)
    return content


def pull(name: str, **options: str) -> list[object]:
    """Fetch ``name`` in this process and return all events."""
    return list(Fetch(plan(name, Settings(), **options)).events())  # type: ignore[arg-type]


def names_below(folder: Path | None) -> set[str]:
    assert folder is not None
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
