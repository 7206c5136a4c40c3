"""Which files hold a model's weights, how large they are, and whether all of them are there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
ADAPTER_CONFIG = "adapter_config.json"
_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
_NO_WEIGHTS = ("training_args.bin", "optimizer.bin", "scheduler.bin")


@dataclass(frozen=True)
class WeightFiles:
    """A folder's weights.

    Attributes:
        total_bytes: of the files that are there.
        missing: names of shards that the index lists and that are not there or empty. The index's
            total size is not compared: ChatGLM-6B's is that of an earlier, larger checkpoint.
    """

    total_bytes: int
    missing: tuple[str, ...] = ()


def weight_files(folder: Path) -> WeightFiles | None:
    """The weights in a model's folder; None where there are none at all."""
    for index in INDEXES:
        if (folder / index).is_file():
            return _sharded(folder, index)
    sizes = {
        file.name: size
        for file in _files(folder)
        if file.suffix in _SUFFIXES and file.name not in _NO_WEIGHTS and (size := _size(file)) > 0
    }
    if not sizes:
        return None
    tensors = {name: size for name, size in sizes.items() if name.endswith(".safetensors")}
    return WeightFiles(sum((tensors or sizes).values()))


def is_whole(path: Path) -> bool:
    """Whether a model's folder has its config and all its weights; a file is whole if it is there.

    A download that was broken off leaves a folder that is not.
    """
    if path.is_file():
        return _size(path) > 0
    weights = weight_files(path)
    return bool(weights and not weights.missing) and (path / "config.json").is_file()


def _sharded(folder: Path, index: str) -> WeightFiles:
    try:
        listed = json.loads((folder / index).read_text(encoding="utf-8"))
        shards = sorted(set(listed["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return WeightFiles(0, (index,))
    sizes = {shard: _size(folder / shard) for shard in shards}
    return WeightFiles(
        sum(sizes.values()), tuple(shard for shard, size in sizes.items() if not size)
    )


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _size(file: Path) -> int:
    """Bytes; 0 where the file is not there (or a link to nothing)."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def is_rwkv_file(file: Path) -> bool:
    """Whether a ``.pth`` is one of BlinkDL's: its pickle names RWKV's time mixing."""
    if file.suffix != ".pth":
        return False
    import zipfile  # with bz2 and lzma; a start without such a file does not wait for them

    try:
        with zipfile.ZipFile(file) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("data.pkl")]
            return any(b"blocks.0.att." in archive.read(name) for name in pickles)
    except (OSError, zipfile.BadZipFile):
        return False
