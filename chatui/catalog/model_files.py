"""Read a model's JSON files, find its weights, and check that none is missing."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import without_surrogates

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
_NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "scheduler.bin")
CHATGLM_VOCABULARY = "ice_text.model"
_TOKENIZERS = ("tokenizer.model", "tokenizer.json", "vocab.txt", "vocab.json", CHATGLM_VOCABULARY)
_TOKENIZER_STEMS = ("tokenizer", "vocab", "merges", "spiece", "ice_text")

_POINTER = b"version https://git-lfs"
"""First bytes of a Git LFS pointer (git-lfs: docs/spec.md), left by a clone without LFS."""

_MOST_POINTER_BYTES = 1024
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


# Unlike a path's methods, these return False in a folder without permission.
is_file, is_folder = os.path.isfile, os.path.isdir


def check_not_pointer(file: Path) -> None:
    """Check that a file is not a Git LFS pointer.

    Raises:
        ChatuiError: it is one.
    """
    with suppress(OSError), file.open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise ChatuiError(say("catalog.lfs_pointer", file=file))


def read_json_object(file: Path) -> dict[str, Any]:
    """Read a JSON object; lone surrogates in its strings become U+FFFD.

    Raises:
        ChatuiError: the file cannot be read, or holds another kind of value.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        value = json.loads(text)
        if _SURROGATE.search(text):
            value = json.loads(without_surrogates(json.dumps(value, ensure_ascii=False)))
    except (OSError, ValueError, RecursionError) as error:
        check_not_pointer(file)
        raise ChatuiError(say("catalog.unreadable", file=file, reason=error)) from error
    if not isinstance(value, dict):
        raise ChatuiError(say("catalog.unreadable", file=file, reason=say("engine.no_object")))
    return value


def has_tokenizer(folder: Path) -> bool:
    """True if ``folder`` holds a tokenizer's vocabulary."""
    return any(is_file(folder / name) for name in _TOKENIZERS)


@dataclass(frozen=True)
class WeightFiles:
    """The weights in a folder.

    Attributes:
        total_bytes: size of the existing files.
        missing: names of missing or empty shards listed in the index. The index's total size is
            not checked: ChatGLM-6B's is that of an earlier, larger checkpoint.
    """

    total_bytes: int
    missing: tuple[str, ...] = ()


def weight_files(folder: Path) -> WeightFiles | None:
    """Find the weights in a model's folder; None if there are none."""
    for index in INDEXES:
        if is_file(folder / index):
            return _sharded(folder, index)
    weights = [file for file in children(folder) if file.suffix in WEIGHT_SUFFIXES]
    sizes = {file.name: _size(file) for file in weights if file.name not in _NO_WEIGHTS}
    tensors = sum(size for name, size in sizes.items() if name.endswith(".safetensors"))
    total = tensors or sum(sizes.values())
    return WeightFiles(total) if total else None


def check_no_pointers(folder: Path) -> None:
    """Check that no weights or tokenizer files in a folder are Git LFS pointers.

    Raises:
        ChatuiError: one of them is.
    """
    for file in children(folder):
        is_read = file.suffix in WEIGHT_SUFFIXES or file.name.startswith(_TOKENIZER_STEMS)
        if is_read and 0 < _size(file) <= _MOST_POINTER_BYTES:
            check_not_pointer(file)


def has_all_files(path: Path) -> bool:
    """True if a folder has all its weights, or a file is not empty.

    False after an interrupted download.
    """
    if is_file(path):
        return _size(path) > 0
    weights = weight_files(path)
    return bool(weights and not weights.missing)


def _sharded(folder: Path, index: str) -> WeightFiles:
    places = None
    with suppress(ChatuiError):
        places = read_json_object(folder / index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        return WeightFiles(0, (index,))
    sizes = {shard: _size(folder / shard) for shard in sorted(set(places.values()))}
    missing = tuple(shard for shard, size in sizes.items() if not size)
    return WeightFiles(sum(sizes.values()), missing)


def children(folder: Path) -> list[Path]:
    """Return the files and folders in ``folder``, sorted; none if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _size(file: Path) -> int:
    """Return the size in bytes; 0 for a missing file, a broken link or an impossible name."""
    try:
        return file.stat().st_size
    except (OSError, ValueError):
        return 0


def is_rwkv_file(file: Path) -> bool:
    """True if a ``.pth`` file is one of BlinkDL's: its pickle names RWKV's attention weights."""
    if file.suffix != ".pth":
        return False
    import zipfile  # Imports bz2 and lzma, which most starts do not need.

    try:
        with zipfile.ZipFile(file) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
            return any(b"blocks.0.att." in archive.read(name) for name in pickles)
    except Exception:
        # A damaged archive raises errors of zipfile, of its compression modules and of Python.
        return False
