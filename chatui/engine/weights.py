"""The weights of a model folder: find them, check their headers, read them tensor by tensor."""

from __future__ import annotations

import json
import pickle
import sys
import time
import zipfile
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from chatui.catalog.model_files import INDEXES, check_not_pointer, read_json_object
from chatui.engine.memory import forget_pages, trim_heap
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Loading
from chatui.text import one_line

# The order in which transformers looks: safetensors first, a single file before an index.
_SINGLES = ("model.safetensors", "pytorch_model.bin")
_TRIM = 256 << 20
"""Bytes of converted tensors after which freed memory is returned to the system."""
_LARGEST_HEADER = 100_000_000
_LONGEST_NAME = 200
_REPORT_SECONDS = 0.05
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class TensorEntry:
    """A tensor in a file, by its header.

    Attributes:
        file: the file.
        key: its name in the file.
        dtype: None for 8-bit floats, which only safetensors reads.
        shape: its shape.
        bytes: its size in the file.
    """

    file: Path
    key: str
    dtype: torch.dtype | None
    shape: tuple[int, ...]
    bytes: int

    @property
    def is_float(self) -> bool:
        """True for floating point numbers of at least 16 bits."""
        return self.dtype is not None and self.dtype.is_floating_point


def find_weights(folder: Path) -> tuple[TensorEntry, ...]:
    """Return all tensors of a model folder, from safetensors or PyTorch files, sharded or not.

    Only headers are read: the JSON header of safetensors, which must match the file's size, and the
    pickle of PyTorch files, which may build only tensors.

    Raises:
        ChatuiError: there are no weights; a shard is missing, truncated, of another format or
            differs from the index; a pickle contains code.
    """
    for single, index in zip(_SINGLES, INDEXES, strict=True):
        if (folder / single).is_file():
            return read_entries(folder / single)
        if (folder / index).is_file():
            return _read_indexed(folder / index)
    raise ChatuiError(say("engine.no_weights", folder=folder))


def _read_indexed(index: Path) -> tuple[TensorEntry, ...]:
    """Return the tensors of all shards in an index, after checking them against it."""
    shard_of = read_json_object(index).get("weight_map")
    if not isinstance(shard_of, dict) or not shard_of:
        raise ChatuiError(say("catalog.unreadable", file=index, reason=say("engine.no_weight_map")))
    entries: list[TensorEntry] = []
    for name in sorted(set(map(str, shard_of.values()))):
        shard = index.parent / name
        if len(name) > _LONGEST_NAME or not shard.is_file():
            line = one_line(name)
            raise ChatuiError(say("engine.shard_missing", shard=line, folder=index.parent))
        found = read_entries(shard)
        missing = {key for key, value in shard_of.items() if value == name}
        missing -= {entry.key for entry in found}
        if missing:
            raise ChatuiError(say("engine.shard_differs", shard=shard, key=sorted(missing)[0]))
        entries.extend(found)
    return tuple(entries)


def read_entries(file: Path) -> tuple[TensorEntry, ...]:
    """Return the tensors of one file.

    Raises:
        ChatuiError: see :func:`find_weights`.
    """
    check_not_pointer(file)
    try:
        with file.open("rb") as stream:
            if file.suffix == ".safetensors":
                return _read_safetensors_header(file, stream)
            is_archive = stream.read(4) == b"PK\x03\x04"
    except OSError as error:
        raise ChatuiError(say("catalog.unreadable", file=file, reason=error)) from error
    return _read_pickle(file, is_archive=is_archive)


def _read_safetensors_header(file: Path, stream: BinaryIO) -> tuple[TensorEntry, ...]:
    """Parse u64 little endian length, that many bytes of JSON, then the data (safetensors)."""
    actual = file.stat().st_size
    length = int.from_bytes(stream.read(8), "little")
    if actual < 10 or length > min(actual, _LARGEST_HEADER):
        raise ChatuiError(say("engine.truncated_header", file=file, actual=actual))
    try:
        header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        entries = tuple(
            TensorEntry(
                file,
                key,
                _DTYPES.get(value["dtype"]),
                tuple(value["shape"]),
                value["data_offsets"][1] - value["data_offsets"][0],
            )
            for key, value in header.items()
        )
        expected = 8 + length + max((v["data_offsets"][1] for v in header.values()), default=0)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ChatuiError(say("engine.not_weights", file=file)) from error
    if actual != expected:
        raise ChatuiError(say("engine.truncated", file=file, expected=expected, actual=actual))
    try:
        # safetensors itself checks shapes, dtypes and offsets.
        with safe_open(file, framework="pt"):
            return entries
    except (SafetensorError, OSError) as error:
        raise ChatuiError(say("engine.not_weights", file=file)) from error


def _read_pickle(file: Path, *, is_archive: bool) -> tuple[TensorEntry, ...]:
    """Return the tensors of a PyTorch file; of a zip archive no data is read."""
    try:
        if is_archive and not zipfile.is_zipfile(file):
            raise ChatuiError(say("engine.truncated_archive", file=file))
        tensors = _load_pickle(file, map_location="meta")
    except ChatuiError:
        raise
    except pickle.UnpicklingError as error:
        raise ChatuiError(say("engine.pickled_code", file=file)) from error
    except Exception as error:  # A damaged pickle can make torch's reader raise anything.
        raise ChatuiError(say("engine.not_weights", file=file)) from error
    if not isinstance(tensors, dict):
        raise ChatuiError(say("engine.not_weights", file=file))
    return tuple(
        TensorEntry(file, key, tensor.dtype, tuple(tensor.shape), tensor.nbytes)
        for key, tensor in tensors.items()
        if isinstance(tensor, Tensor)
    )


def _load_pickle(file: Path, map_location: str) -> Any:
    # Files from before PyTorch 1.6 are not zip archives and cannot be mapped.
    mapped = zipfile.is_zipfile(file)
    return torch.load(file, map_location=map_location, weights_only=True, mmap=mapped or None)


def stays_as_stored(entry: TensorEntry, dtype: torch.dtype | None, device: torch.device) -> bool:
    """True if a loader with this dtype and device neither converts nor moves a tensor."""
    return device.type == "cpu" and (entry.dtype == dtype or not entry.is_float)


def is_mapped(entry: TensorEntry, dtype: torch.dtype | None, device: torch.device) -> bool:
    """True if a tensor is mapped from its file and never copied."""
    mappable = entry.file.suffix == ".safetensors" and sys.platform != "win32"
    return mappable and stays_as_stored(entry, dtype, device)


class TensorReader:
    """Reads tensors for transformers' loader, reports progress, and releases pages.

    A tensor that stays on the CPU in its dtype is mapped and never copied. One that is converted or
    moved is read into memory just before, so that only one tensor at a time exists twice.

    Args:
        entries: the tensors to read.
        dtype: dtype to which the loader converts floating point tensors; None if it packs them.
        device: device to which the loader moves them.
        report: called with the bytes read: with 0 at once, the total at the end, and at most once
            every 0.05 s between them, so that the pipe to the app does not fill up.
        stage: what is being read, for the report.
    """

    def __init__(
        self,
        entries: tuple[TensorEntry, ...],
        dtype: torch.dtype | None,
        device: torch.device,
        report: Callable[[Loading], None],
        stage: str,
    ) -> None:
        self._dtype = dtype
        self._device = device
        self._report = report
        self._stage = stage
        self._lock = Lock()
        self._done, self._total = 0, sum(entry.bytes for entry in entries)
        self._reported = 0.0
        self._open: dict[tuple[Path, str], Any] = {}
        self._left: dict[Path, int] = {}
        # The tensors that the loader's four threads may still be converting.
        self._converting: deque[Tensor] = deque(maxlen=16)
        for entry in entries:
            self._left[entry.file] = self._left.get(entry.file, 0) + 1
        self.tensors = {
            entry.key: LazyTensor(entry, partial(self.read, entry)) for entry in entries
        }
        if self._total:
            report(Loading(stage, 0, self._total))

    def read(self, entry: TensorEntry) -> Tensor:
        """Return the tensor of ``entry``, on the CPU, in the file's dtype."""
        stays = stays_as_stored(entry, self._dtype, self._device)
        if entry.file.suffix == ".safetensors":
            backend = "mmap" if is_mapped(entry, self._dtype, self._device) else "pread"
            tensor: Tensor = self._file(entry, backend).get_slice(entry.key)[...]
        else:
            tensor = self._file(entry, "pickle")[entry.key]
        with self._lock:
            if entry.file.suffix != ".safetensors":
                # Only pages of a mapped file can be read again.
                converted = not stays and zipfile.is_zipfile(entry.file)
                self.release_pages(tensor if converted else None)
            elif not stays and (self._done + entry.bytes) // _TRIM > self._done // _TRIM:
                trim_heap()
            self._done += entry.bytes
            self._left[entry.file] -= 1
            if not self._left[entry.file]:
                for key in [key for key in self._open if key[0] == entry.file]:
                    del self._open[key]
            if time.monotonic() - self._reported > _REPORT_SECONDS or self._done == self._total:
                self._reported = time.monotonic()
                self._report(Loading(self._stage, self._done, self._total))
        return tensor

    def _file(self, entry: TensorEntry, how: str) -> Any:
        with self._lock:
            if (entry.file, how) not in self._open:
                self._open[entry.file, how] = (
                    _load_pickle(entry.file, map_location="cpu")
                    if how == "pickle"
                    else safe_open(entry.file, framework="pt", device="cpu", backend=how)
                )
            return self._open[entry.file, how]

    def release_pages(self, newest: Tensor | None = None) -> None:
        """Release the pages of mapped tensors after their conversion."""
        for tensor in self._converting:
            forget_pages(tensor)
        if newest is not None:
            self._converting.append(newest)


class LazyTensor:
    """A tensor read by ``[...]``, with the interface that transformers' loader expects."""

    def __init__(self, entry: TensorEntry, read: Callable[[], Tensor]) -> None:
        self._entry = entry
        self._read = read

    def get_shape(self) -> list[int]:
        return list(self._entry.shape)

    def get_dtype(self) -> str:
        return str(self._entry.dtype)

    def __getitem__(self, _: object) -> Tensor:
        return self._read()
