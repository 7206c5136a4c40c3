"""Read conversations from files of all known formats, in constant memory.

The formats are JSON and JSON Lines with the records of :mod:`.dialogues` or the message trees of
:mod:`.imports`, transcripts, oterm's database, and text in which lines name the speaker.
"""

from __future__ import annotations

import codecs
import io
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from chatui.conversation.dialogues import Dialogue, InvalidRecord, is_message, is_pair, parse_record
from chatui.conversation.imports.program_exports import (
    DATABASE_MAGIC,
    read_message_tree,
    read_oterm,
)
from chatui.conversation.imports.speaker_lines import read_speaker_lines
from chatui.conversation.json_records import JsonRecords, UnreadableRecord, opened
from chatui.conversation.rounds import Transcript
from chatui.conversation.transcript_events import FORMAT
from chatui.conversation.transcript_reader import read_transcript
from chatui.errors import ChatuiError
from chatui.locales import say

JSON_SUFFIXES = (".json", ".jsonl")
_TEXT_SUFFIXES = (".md", ".markdown", ".txt")
IMPORT_SUFFIXES = (*JSON_SUFFIXES, *_TEXT_SUFFIXES, ".db")
"""Suffixes of the files that are imported from a folder."""

_PEEKED_BYTES = 4096
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class SkippedRecord:
    """A record that was skipped, and a sentence that says why."""

    sentence: str


FileRecord: TypeAlias = "Dialogue | Transcript | SkippedRecord"


@dataclass
class ConversationFiles:
    """The conversations of several files, read one after another.

    Attributes:
        files: the files.
        encoding: their encoding; None for UTF-8, or UTF-16 with a byte order mark.
    """

    files: Sequence[Path]
    encoding: str | None = None
    _before: int = field(default=0, init=False)
    _reading: io.BufferedReader[Any] | None = field(default=None, init=False)

    @property
    def total_bytes(self) -> int:
        """Total size of the files."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def done_bytes(self) -> int:
        """Bytes read so far."""
        return self._before + (self._reading.raw.tell() if self._reading else 0)

    def read(self) -> Iterator[tuple[Path, FileRecord]]:
        """Yield the conversations and the skipped records in order, each with its file.

        Raises:
            ChatuiError: a file cannot be opened or read.
        """
        self._before = 0
        for file in self.files:
            with opened(file) as self._reading:
                for found in self._read(file, self._reading):
                    yield file, found
            self._reading = None
            self._before += file.stat().st_size

    def _read(self, file: Path, stream: io.BufferedReader[Any]) -> Iterator[FileRecord]:
        head = stream.peek(_PEEKED_BYTES)[:_PEEKED_BYTES]
        if head.startswith(_UTF_16):
            head = head.decode("utf-16", "ignore").encode("utf-8", "surrogatepass")
        if f'"{FORMAT}"'.encode() in head:
            yield from self._transcript(file)
        elif head.startswith(DATABASE_MAGIC):
            yield from _database(file)
        elif head.startswith(b"PK\x03\x04"):
            yield _skipped(file, None, say("import.zip"))
        elif _is_text(file, head):
            yield from self._text(file, stream.read())
        else:
            yield from self._json(file, stream)

    def _transcript(self, file: Path) -> Iterator[FileRecord]:
        faults: list[UnreadableRecord] = []
        try:
            yield read_transcript(file, faults.append, encoding=self.encoding)
        except ChatuiError as error:
            yield SkippedRecord(str(error))
        for fault in faults:
            yield _skipped(file, say("import.line", line=fault.line), fault.reason)

    def _text(self, file: Path, data: bytes) -> Iterator[FileRecord]:
        encoding = self.encoding or ("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
        try:
            yield from _results(file, None, read_speaker_lines(data.decode(encoding)))
        except UnicodeError:
            yield _skipped(file, None, say("dataset.no_utf8"))
        except InvalidRecord as error:
            yield _skipped(file, None, str(error))

    def _json(self, file: Path, stream: io.BufferedReader[Any]) -> Iterator[FileRecord]:
        records = JsonRecords(stream, self.encoding)
        dialogue_parts: list[Any] = []
        for number, record in enumerate(records, 1):
            if isinstance(record, UnreadableRecord):
                yield _skipped(file, say("import.line", line=record.line), record.reason)
                continue
            line, value = record
            if records.is_array and (is_message(value) or is_pair(value)):
                dialogue_parts.append(value)
                continue
            found = _parse(value)
            if isinstance(found, Dialogue):
                yield found
                continue
            key = "import.line_and_item" if records.is_array else "import.line"
            yield from _results(file, say(key, line=line, number=number), found)
        if dialogue_parts:
            yield from _results(file, say("import.line", line=1), _parse(dialogue_parts))


def _is_text(file: Path, head: bytes) -> bool:
    suffix = file.suffix.lower()
    starts_json = head.lstrip(codecs.BOM_UTF8 + b" \t\r\n")[:1] in (b"[", b"{")
    return suffix in _TEXT_SUFFIXES or (suffix not in JSON_SUFFIXES and not starts_json)


def _database(file: Path) -> Iterator[FileRecord]:
    try:
        for number, found in enumerate(read_oterm(file), 1):
            yield from _results(file, say("import.item", number=number), found)
    except sqlite3.Error as error:
        yield _skipped(file, None, say("import.no_oterm", reason=error))


def _results(
    file: Path, place: str | None, found: Dialogue | Transcript | InvalidRecord
) -> Iterator[FileRecord]:
    if isinstance(found, InvalidRecord):
        yield _skipped(file, place, str(found))
        return
    yield found
    if isinstance(found, Transcript) and (count := found.unread_messages):
        yield _skipped(file, place, say("import.unread", count=count))


def _skipped(file: Path, place: str | None, reason: str) -> SkippedRecord:
    where = str(file) if place is None else say("import.in_file", path=file, place=place)
    return SkippedRecord(say("import.skipped", place=where, reason=reason))


def _parse(value: Any) -> Dialogue | Transcript | InvalidRecord:
    """Read the conversation in a JSON value."""
    try:
        return read_message_tree(value) or parse_record(value)
    except InvalidRecord as error:
        return error


def expand_paths(paths: Sequence[str], suffixes: Sequence[str] = JSON_SUFFIXES) -> tuple[Path, ...]:
    """Return files, and for each folder its files with these suffixes, sorted by name.

    Raises:
        ChatuiError: a path does not exist, or a folder has no such files.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        try:
            inside = sorted(each for each in path.iterdir() if each.suffix.lower() in suffixes)
        except NotADirectoryError:
            found.append(path)
        except (OSError, ValueError) as error:
            raise ChatuiError(
                say("conversation.file_unreadable", path=path, reason=error)
            ) from error
        else:
            if not inside:
                raise ChatuiError(say("dataset.empty_folder", path=path))
            found += inside
    return tuple(found)
