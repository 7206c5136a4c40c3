"""Write files of training examples: JSON Lines, Arrow and safetensors.

A file is written under a temporary name and renamed when it is complete. Writing can be resumed at
any earlier size.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
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


class PartialFile:
    """An incomplete file of examples.

    JSON Lines are written as they are. For the other formats each column is a file of rows of
    int64, and these parts are combined at the end.

    Attributes:
        size: size of each part in bytes when it was opened.
    """

    def __init__(
        self,
        file_format: FileFormat,
        target: Path,
        columns: tuple[str, ...],
        length: int,
        size: int,
    ) -> None:
        """Open the parts of ``target`` for appending.

        Args:
            columns: names of the columns.
            length: length of each example in tokens.
            size: size in bytes to truncate each part to; if a part is shorter, all start anew.

        Raises:
            ChatuiError: a package that the format needs is not installed.
            OSError: the file cannot be written.
        """
        if file_format == "arrow":
            try:
                import pyarrow  # noqa: F401
            except ImportError as error:
                raise ChatuiError(say("dataset.no_pyarrow")) from error
        self._format = file_format
        self._target = target
        self._columns = columns
        self._length = length
        self._whole = partial_path(target)
        self._parts = [self._whole]
        if file_format != "jsonl":
            self._parts = [partial_path(target, f".{name}") for name in columns]
        is_there = all(part.is_file() and part.stat().st_size >= size for part in self._parts)
        self.size = size if is_there else 0
        self._streams = [_open_at(part, self.size) for part in self._parts]

    def append(self, examples: Sequence[TrainingExample]) -> int:
        """Append examples; return the new size of each part in bytes."""
        if self._format == "jsonl":
            rows = [{name: getattr(each, name) for name in self._columns} for each in examples]
            self._streams[0].write(_encode_lines(rows))
        else:
            for name, stream in zip(self._columns, self._streams, strict=True):
                column = [getattr(each, name) for each in examples]
                stream.write(np.asarray(column, dtype=_ITEM).tobytes())
        return self._streams[0].tell()

    def finish(self) -> None:
        """Complete the file and rename it to its name."""
        rows = self._streams[0].tell() // (self._length * _ITEM.itemsize)
        self.close()
        if self._format != "jsonl":
            write = _write_arrow if self._format == "arrow" else _write_safetensors
            write(
                self._whole, dict(zip(self._columns, self._parts, strict=True)), rows, self._length
            )
        with self._whole.open("rb") as stream:
            os.fsync(stream.fileno())
        self._whole.replace(self._target)
        for part in self._parts:
            part.unlink(missing_ok=True)

    def flush(self) -> None:
        """Flush the buffers to the operating system."""
        for stream in self._streams:
            stream.flush()

    def close(self) -> None:
        """Close the parts."""
        for stream in self._streams:
            stream.close()


_encode_lines = msgspec.json.Encoder().encode_lines


def partial_path(target: Path, suffix: str = "") -> Path:
    """Return the temporary name of ``target``, or of a file beside it."""
    return target.with_name(f"{target.name}.partial{suffix}")


def _open_at(file: Path, size: int) -> BinaryIO:
    """Open a file for writing, truncated to ``size`` bytes."""
    stream = file.open("r+b" if size else "wb")
    stream.truncate(size)
    stream.seek(size)
    return stream


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
