"""Read conversations from files of all known formats, in constant memory.

The formats are JSON and JSON Lines with the records of :mod:`.dialogues` or the message trees of
:mod:`.imports`, transcripts, oterm's database, and text in which lines name the speaker.
"""

from __future__ import annotations

import codecs
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from chatui.conversation.dialogues import Dialogue, InvalidRecord, is_message, is_pair, parse_record
from chatui.conversation.imports.chatgpt import read_chatgpt
from chatui.conversation.imports.llama_page import read_llama_page
from chatui.conversation.imports.lm_studio import read_lm_studio
from chatui.conversation.imports.open_webui import read_open_webui
from chatui.conversation.imports.oterm import MAGIC, read_oterm
from chatui.conversation.imports.speaker_lines import read_speaker_lines
from chatui.conversation.json_records import JsonRecords, UnreadableRecord
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

_TREE_READERS = (read_chatgpt, read_llama_page, read_lm_studio, read_open_webui)
_TREE_KEYS = frozenset(("mapping", "messages", "history", "chat"))
"""Every record with a message tree has one of these keys."""


@dataclass(frozen=True)
class SkippedRecord:
    """A record that was skipped, and a sentence that says why."""

    sentence: str


FileRecord: TypeAlias = "Dialogue | Transcript | SkippedRecord"


class ConversationFile:
    """The conversations of one file, in order."""

    def __init__(self, file: Path, encoding: str | None = None) -> None:
        """Read ``file`` in ``encoding`` (None: UTF-8, or UTF-16 with a byte order mark)."""
        self._file = file
        self._encoding = encoding
        self._records: JsonRecords | None = None

    @property
    def done_bytes(self) -> int:
        """Bytes read so far."""
        return self._records.done_bytes if self._records is not None else 0

    def __iter__(self) -> Iterator[FileRecord]:
        """Yield the conversations and the skipped records.

        Raises:
            ChatuiError: the file cannot be opened or read.
        """
        head = self._head()
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            head = head.decode("utf-16", "ignore").encode("utf-8", "surrogatepass")
        if f'"{FORMAT}"'.encode() in head:
            yield from self._transcript()
        elif head.startswith(MAGIC):
            yield from self._database()
        elif head.startswith(b"PK\x03\x04"):
            yield self._skipped(None, say("import.zip"))
        elif self._is_text(head):
            yield from self._text()
        else:
            yield from self._json()

    def _head(self) -> bytes:
        try:
            with self._file.open("rb") as stream:
                return stream.read(_PEEKED_BYTES)
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> ChatuiError:
        return ChatuiError(say("conversation.file_unreadable", path=self._file, reason=error))

    def _is_text(self, head: bytes) -> bool:
        suffix = self._file.suffix.lower()
        starts_json = head.lstrip(codecs.BOM_UTF8 + b" \t\r\n")[:1] in (b"[", b"{")
        return suffix in _TEXT_SUFFIXES or (suffix not in JSON_SUFFIXES and not starts_json)

    def _transcript(self) -> Iterator[FileRecord]:
        faults: list[UnreadableRecord] = []
        try:
            yield read_transcript(self._file, faults.append, encoding=self._encoding)
        except ChatuiError as error:
            yield SkippedRecord(str(error))
        for fault in faults:
            yield self._skipped(say("import.line", line=fault.line), fault.reason)

    def _database(self) -> Iterator[FileRecord]:
        try:
            for number, found in enumerate(read_oterm(self._file), 1):
                yield from self._results(say("import.item", number=number), found)
        except sqlite3.Error as error:
            yield self._skipped(None, say("import.no_oterm", reason=error))

    def _text(self) -> Iterator[FileRecord]:
        try:
            data = self._file.read_bytes()
        except OSError as error:
            raise self._unreadable(error) from error
        marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        try:
            text = data.decode(self._encoding or ("utf-16" if marked else "utf-8-sig"))
            yield from self._results(None, read_speaker_lines(text))
        except UnicodeError:
            yield self._skipped(None, say("dataset.no_utf8"))
        except InvalidRecord as error:
            yield self._skipped(None, str(error))

    def _json(self) -> Iterator[FileRecord]:
        self._records = records = JsonRecords(self._file, self._encoding)
        dialogue_parts: list[Any] = []
        for number, record in enumerate(records, 1):
            line = record.line if isinstance(record, UnreadableRecord) else record[0]
            if isinstance(record, UnreadableRecord):
                yield self._skipped(say("import.line", line=line), record.reason)
                continue
            value = record[1]
            is_element = records.is_array
            if is_element and (is_message(value) or is_pair(value)):
                dialogue_parts.append(value)
                continue
            found = _read(value)
            if isinstance(found, Dialogue):
                yield found
                continue
            key = "import.line_and_item" if is_element else "import.line"
            yield from self._results(say(key, line=line, number=number), found)
        if dialogue_parts:
            yield from self._results(say("import.line", line=1), _read(dialogue_parts))

    def _results(
        self, place: str | None, found: Dialogue | Transcript | InvalidRecord
    ) -> Iterator[FileRecord]:
        if isinstance(found, InvalidRecord):
            yield self._skipped(place, str(found))
            return
        yield found
        if isinstance(found, Transcript) and (count := found.unread_messages):
            yield self._skipped(place, say("import.unread", count=count))

    def _skipped(self, place: str | None, reason: str) -> SkippedRecord:
        where = str(self._file)
        if place is not None:
            where = say("import.in_file", path=where, place=place)
        return SkippedRecord(say("import.skipped", place=where, reason=reason))


def _read(value: Any) -> Dialogue | Transcript | InvalidRecord:
    """Read the conversation in a JSON value."""
    try:
        if isinstance(value, dict) and not _TREE_KEYS.isdisjoint(value):
            for read in _TREE_READERS:
                if (found := read(value)) is not None:
                    return found
        return parse_record(value)
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
