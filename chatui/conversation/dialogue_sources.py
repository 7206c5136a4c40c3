"""Where dialogues come from: files of any known form, and saved conversations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from chatui.conversation import transcript
from chatui.conversation.dialogues import (
    Dialogue,
    WrongRecord,
    is_message,
    is_pair,
    of_record,
    of_rounds,
)
from chatui.conversation.json_records import Fault, JsonRecords
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say

_SUFFIXES = (".json", ".jsonl")
_PEEKED_BYTES = 4096


@dataclass(frozen=True)
class SkippedRecord:
    """A record that was left out, told in one sentence."""

    sentence: str


Found: TypeAlias = "Dialogue | SkippedRecord"


@dataclass
class DialogueSources:
    """Files and conversations, read one after the other in constant memory.

    Attributes:
        files: Alpaca, ShareGPT, OpenAI messages, ChatGLM histories, our transcripts.
        store: holds the conversations; None if there are none.
        conversations: their ids.
        encoding: of the files; None for UTF-8.
    """

    files: Sequence[Path]
    store: Store | None = None
    conversations: Sequence[int] = ()
    encoding: str | None = None
    _before: int = field(default=0, init=False)
    _reading: JsonRecords | None = field(default=None, init=False)

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def done_bytes(self) -> int:
        """Bytes of the files that are read."""
        return self._before + (self._reading.done_bytes if self._reading else 0)

    def fingerprint(self) -> str:
        """Changes when a file or a conversation does."""
        versions: list[object] = [self.encoding]
        for file in self.files:
            stat = file.stat()
            versions += [str(file.resolve()), stat.st_size, stat.st_mtime_ns]
        for id in self.conversations:
            assert self.store is not None
            versions += [id, self.store.conversation(id).updated_at]
        return hashlib.sha256(json.dumps(versions).encode()).hexdigest()

    def __iter__(self) -> Iterator[Found]:
        """The dialogues in their order, always the same.

        Raises:
            ChatuiError: a file or a conversation cannot be read at all.
        """
        self._before = 0
        for file in self.files:
            yield from self._of_file(file)
            self._before += file.stat().st_size
            self._reading = None
        for id in self.conversations:
            assert self.store is not None
            yield of_rounds(self.store.rounds(id))

    def _of_file(self, file: Path) -> Iterator[Found]:
        if _is_transcript(file):
            try:
                yield of_rounds(transcript.read(file).path())
            except ChatuiError as error:
                yield SkippedRecord(str(error))
            return
        self._reading = records = JsonRecords(file, self.encoding)
        parts: list[Any] = []
        for record in records:
            if isinstance(record, Fault):
                yield _skipped(file, record.line, record.reason)
                continue
            line, value = record
            if records.is_array and (is_message(value) or is_pair([value])):
                parts.append(value)
                continue
            yield _dialogue(file, line, value)
        if parts:
            yield _dialogue(file, 1, parts)


def files_of(names: Sequence[str]) -> tuple[Path, ...]:
    """The files that ``names`` mean; a folder means its JSON files, sorted by name.

    Raises:
        ChatuiError: there is no such file, or a folder without any.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
        try:
            inside = sorted(each for each in path.iterdir() if each.suffix.lower() in _SUFFIXES)
        except NotADirectoryError:
            found.append(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ChatuiError(
                say("conversation.file_unreadable", path=path, reason=reason)
            ) from error
        else:
            if not inside:
                raise ChatuiError(say("dataset.empty_folder", path=path))
            found += inside
    return tuple(found)


def _dialogue(file: Path, line: int, value: object) -> Found:
    try:
        return of_record(value)
    except WrongRecord as error:
        return _skipped(file, line, str(error))


def _skipped(file: Path, line: int, reason: str) -> SkippedRecord:
    return SkippedRecord(say("dataset.skipped", file=file, line=line, reason=reason))


def _is_transcript(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return f'"{transcript.FORMAT}"'.encode() in stream.read(_PEEKED_BYTES)
    except OSError as error:
        reason = error.strerror or error
        raise ChatuiError(say("conversation.file_unreadable", path=file, reason=reason)) from error
