"""Files of training examples: JSON Lines, Arrow, safetensors.

A file grows under a name of its own and takes its real name when it is whole. Growing can be taken
up again at any place that a file has had.
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

Form: TypeAlias = Literal["jsonl", "arrow", "safetensors"]
FORMS: tuple[Form, ...] = ("jsonl", "arrow", "safetensors")

_ITEM = np.dtype("<i8")
_ROWS_AT_ONCE = 4096


class CannotResume(Exception):
    """A file does not have the place from which it is to grow."""


class GrowingFile(ABC):
    """A file of examples that is not whole yet, in one part or several.

    Args:
        parts: the files that grow.
        bytes: how much of each is kept.
    """

    def __init__(self, parts: Sequence[Path], bytes: int) -> None:
        self._parts = parts
        self._streams = [_resumed(file, bytes) for file in parts]

    @abstractmethod
    def append(self, examples: Sequence[TrainingExample]) -> int:
        """Add examples; the place behind them."""

    @abstractmethod
    def finish(self, target: Path) -> None:
        """Give the whole file its name."""

    def flush(self) -> None:
        """Hand all that was added to the system."""
        for stream in self._streams:
            stream.flush()

    def close(self) -> None:
        for stream in self._streams:
            stream.close()


def open_growing(
    form: Form, target: Path, columns: tuple[str, ...], length: int, place: int
) -> GrowingFile:
    """The file that becomes ``target``, cut off at ``place``; 0 begins it anew.

    Raises:
        CannotResume: there is less of it than that.
        ChatuiError: a package is not installed that the form needs.
        OSError: it cannot be written.
    """
    partial = partial_path(target)
    if form == "jsonl":
        return _JsonLines(partial, columns, place)
    assemble = _safetensors
    if form == "arrow":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise ChatuiError(say("dataset.no_pyarrow")) from error
        assemble = _arrow
    return _Columns(partial, columns, length, place, assemble)


def partial_path(target: Path) -> Path:
    """The name under which ``target`` grows."""
    return target.with_name(target.name + ".partial")


def _resumed(file: Path, bytes: int) -> BinaryIO:
    """``file`` for writing behind its first ``bytes``."""
    if bytes and not (file.is_file() and file.stat().st_size >= bytes):
        raise CannotResume
    stream = file.open("r+b" if bytes else "wb")
    stream.truncate(bytes)
    stream.seek(bytes)
    return stream


def _named(partial: Path, target: Path) -> None:
    with partial.open("rb") as stream:
        os.fsync(stream.fileno())
    partial.replace(target)


class _JsonLines(GrowingFile):
    """An object a line with the columns as lists; places are bytes."""

    def __init__(self, partial: Path, columns: tuple[str, ...], place: int) -> None:
        super().__init__([partial], place)
        self._columns = columns
        self._encode = msgspec.json.Encoder().encode_lines

    def append(self, examples: Sequence[TrainingExample]) -> int:
        rows = [{name: getattr(example, name) for name in self._columns} for example in examples]
        (stream,) = self._streams
        stream.write(self._encode(rows))
        return stream.tell()

    def finish(self, target: Path) -> None:
        self.close()
        _named(self._parts[0], target)


class _Columns(GrowingFile):
    """A file for each column with rows of ``length`` int64, put together at the end."""

    def __init__(
        self,
        partial: Path,
        columns: tuple[str, ...],
        length: int,
        place: int,
        assemble: Callable[[Path, dict[str, Path], int, int], None],
    ) -> None:
        files = [partial.with_name(f"{partial.name}.{name}") for name in columns]
        super().__init__(files, place * length * _ITEM.itemsize)
        self._partial = partial
        self._columns = columns
        self._length = length
        self._rows = place
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
        _named(self._partial, target)
        for file in self._parts:
            file.unlink()


def _safetensors(whole: Path, columns: dict[str, Path], rows: int, length: int) -> None:
    """int64 tensors [rows, length] by name (format: huggingface/safetensors, README.md)."""
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


def _arrow(whole: Path, columns: dict[str, Path], rows: int, length: int) -> None:
    """A stream of record batches with lists of int64, as ``datasets`` keeps its own."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.list_(pa.int64())) for name in columns])
    with whole.open("wb") as stream, pa.ipc.new_stream(stream, schema) as writer:
        for start in range(0, rows, _ROWS_AT_ONCE):
            count = min(_ROWS_AT_ONCE, rows - start)
            offsets = pa.array(np.arange(count + 1, dtype=np.int32) * length)
            place = start * length * _ITEM.itemsize
            arrays = [
                pa.ListArray.from_arrays(
                    offsets, pa.array(np.fromfile(file, _ITEM, count * length, offset=place))
                )
                for file in columns.values()
            ]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
