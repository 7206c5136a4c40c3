"""Write files of training examples: JSON Lines, Arrow and safetensors.

A file is written under a temporary name and renamed when it is complete. Writing can be resumed at
any earlier position.
"""

from __future__ import annotations

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import msgspec
import numpy as np

from chatui.engine.examples.training_example import TrainingExample
from chatui.errors import ChatuiError
from chatui.locales import say

FileFormat: TypeAlias = Literal["jsonl", "arrow", "safetensors"]

_ITEM = np.dtype("<i8")
_ROWS_PER_BATCH = 4096


class CannotResume(Exception):
    """The partial file is missing or shorter than the position to resume at."""


class PartialFile(ABC):
    """An incomplete file of examples, in one or several parts.

    Args:
        parts: the files to append to.
        bytes: the size to truncate each of them to.
    """

    def __init__(self, parts: Sequence[Path], bytes: int) -> None:
        self._parts = parts
        self._streams = [_open_at(file, bytes) for file in parts]

    @abstractmethod
    def append(self, examples: Sequence[TrainingExample]) -> int:
        """Append examples; return the new position."""

    @abstractmethod
    def finish(self, target: Path) -> None:
        """Complete the file and rename it to ``target``."""

    def flush(self) -> None:
        """Flush the buffers to the operating system."""
        for stream in self._streams:
            stream.flush()

    def close(self) -> None:
        for stream in self._streams:
            stream.close()


def open_partial(
    file_format: FileFormat, target: Path, columns: tuple[str, ...], length: int, position: int
) -> PartialFile:
    """Open the partial file of ``target``, truncated to ``position``; 0 starts a new one.

    Args:
        columns: names of the columns.
        length: length of each example in tokens.
        position: in bytes for JSON Lines, in rows for the other formats.

    Raises:
        CannotResume: the partial file is shorter than ``position``.
        ChatuiError: a package that the format needs is not installed.
        OSError: the file cannot be written.
    """
    partial = partial_path(target)
    if file_format == "jsonl":
        return _JsonLines(partial, columns, position)
    assemble = _write_safetensors
    if file_format == "arrow":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise ChatuiError(say("dataset.no_pyarrow")) from error
        assemble = _write_arrow
    return _ColumnFiles(partial, columns, length, position, assemble)


def partial_path(target: Path) -> Path:
    """Return the temporary name of ``target``."""
    return target.with_name(target.name + ".partial")


def _open_at(file: Path, bytes: int) -> BinaryIO:
    """Open a file for writing, truncated to ``bytes``."""
    if bytes and not (file.is_file() and file.stat().st_size >= bytes):
        raise CannotResume
    stream = file.open("r+b" if bytes else "wb")
    stream.truncate(bytes)
    stream.seek(bytes)
    return stream


def _rename_synced(partial: Path, target: Path) -> None:
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(target)


class _JsonLines(PartialFile):
    """A JSON object of lists per line; positions are in bytes."""

    def __init__(self, partial: Path, columns: tuple[str, ...], position: int) -> None:
        super().__init__([partial], position)
        self._columns = columns
        self._encode = msgspec.json.Encoder().encode_lines

    def append(self, examples: Sequence[TrainingExample]) -> int:
        rows = [{name: getattr(example, name) for name in self._columns} for example in examples]
        (stream,) = self._streams
        stream.write(self._encode(rows))
        return stream.tell()

    def finish(self, target: Path) -> None:
        self.close()
        _rename_synced(self._parts[0], target)


class _ColumnFiles(PartialFile):
    """A file per column with rows of ``length`` int64, combined at the end; positions are rows."""

    def __init__(
        self,
        partial: Path,
        columns: tuple[str, ...],
        length: int,
        position: int,
        assemble: Callable[[Path, dict[str, Path], int, int], None],
    ) -> None:
        files = [partial.with_name(f"{partial.name}.{name}") for name in columns]
        super().__init__(files, position * length * _ITEM.itemsize)
        self._partial = partial
        self._columns = columns
        self._length = length
        self._rows = position
        self._assemble = assemble

    def append(self, examples: Sequence[TrainingExample]) -> int:
        for name, stream in zip(self._columns, self._streams, strict=True):
            rows = [getattr(example, name) for example in examples]
            stream.write(np.asarray(rows, dtype=_ITEM).tobytes())
        self._rows += len(examples)
        return self._rows

    def finish(self, target: Path) -> None:
        self.close()
        files = dict(zip(self._columns, self._parts, strict=True))
        self._assemble(self._partial, files, self._rows, self._length)
        _rename_synced(self._partial, target)
        for file in self._parts:
            file.unlink()


def _write_safetensors(whole: Path, columns: dict[str, Path], rows: int, length: int) -> None:
    """Write int64 tensors [rows, length] by name (format: huggingface/safetensors, README.md)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    size = rows * length * _ITEM.itemsize
    for number, name in enumerate(columns):
        offsets = [number * size, (number + 1) * size]
        header[name] = {"dtype": "I64", "shape": [rows, length], "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for file in columns.values():
            with file.open("rb") as column:
                shutil.copyfileobj(column, stream, 1 << 20)


def _write_arrow(whole: Path, columns: dict[str, Path], rows: int, length: int) -> None:
    """Write a stream of record batches with lists of int64, the format of ``datasets``."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.list_(pa.int64())) for name in columns])
    with whole.open("wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
        for start in range(0, rows, _ROWS_PER_BATCH):
            count = min(_ROWS_PER_BATCH, rows - start)
            offsets = pa.array(np.arange(count + 1, dtype=np.int32) * length)
            position = start * length * _ITEM.itemsize
            arrays = [
                pa.ListArray.from_arrays(
                    offsets, pa.array(np.fromfile(file, _ITEM, count * length, offset=position))
                )
                for file in columns.values()
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
