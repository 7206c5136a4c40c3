"""The one reader of files with conversations, of every known form, in constant memory.

A file of JSON or JSON Lines holds conversations as the records of :mod:`.dialogues` or as one of
the trees of :mod:`.imports`; further forms are transcripts, oterm's database, and text in which
lines name the speaker.
"""

from __future__ import annotations

import codecs
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from chatui.conversation.dialogues import Dialogue, InvalidRecord, is_message, is_pair, parse_record
from chatui.conversation.imports.chatgpt import is_chatgpt, read_chatgpt
from chatui.conversation.imports.llama_page import is_llama_page, read_llama_page
from chatui.conversation.imports.lm_studio import is_lm_studio, read_lm_studio
from chatui.conversation.imports.message_tree import ImportedConversation
from chatui.conversation.imports.open_webui import is_open_webui, read_open_webui
from chatui.conversation.imports.oterm import MAGIC, read_oterm
from chatui.conversation.imports.speaker_lines import read_speaker_lines
from chatui.conversation.json_records import JsonRecords, UnreadableRecord
from chatui.conversation.transcript import Transcript
from chatui.conversation.transcript_events import FORMAT
from chatui.conversation.transcript_reader import read_transcript
from chatui.errors import ChatuiError
from chatui.locales import say

JSON_SUFFIXES = (".json", ".jsonl")
_TEXT_SUFFIXES = (".md", ".markdown", ".txt")
IMPORT_SUFFIXES = (*JSON_SUFFIXES, *_TEXT_SUFFIXES, ".db")
"""Of the files of a folder that is imported."""

_PEEKED_BYTES = 4096

_TREES: tuple[
    tuple[Callable[[Mapping[str, Any]], bool], Callable[[Mapping[str, Any]], ImportedConversation]],
    ...,
] = (
    (is_chatgpt, read_chatgpt),
    (is_llama_page, read_llama_page),
    (is_lm_studio, read_lm_studio),
    (is_open_webui, read_open_webui),
)

_TREE_KEYS = frozenset(("mapping", "messages", "history", "chat"))
"""One of these is in every record that is a tree."""


@dataclass(frozen=True)
class SkippedRecord:
    """What was left out, told in one sentence."""

    sentence: str


Found: TypeAlias = "Dialogue | Transcript | SkippedRecord"


class ConversationFile:
    """The conversations of one file, in their order."""

    def __init__(self, file: Path, encoding: str | None = None) -> None:
        """Read ``file`` in ``encoding`` (None: UTF-8, or UTF-16 with a byte order mark)."""
        self._file = file
        self._encoding = encoding
        self._records: JsonRecords | None = None

    @property
    def done_bytes(self) -> int:
        """How far reading is, for a progress."""
        return self._records.done_bytes if self._records is not None else 0

    def __iter__(self) -> Iterator[Found]:
        """The conversations, and what of the file is left out.

        Raises:
            ChatuiError: the file cannot be read at all.
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

    def _transcript(self) -> Iterator[Found]:
        faults: list[UnreadableRecord] = []
        try:
            yield read_transcript(self._file, faults.append, encoding=self._encoding)
        except ChatuiError as error:
            yield SkippedRecord(str(error))
        for fault in faults:
            yield self._skipped(say("import.line", line=fault.line), fault.reason)

    def _database(self) -> Iterator[Found]:
        try:
            for number, found in enumerate(read_oterm(self._file), 1):
                place = say("import.item", number=number)
                if isinstance(found, InvalidRecord):
                    yield self._skipped(place, str(found))
                else:
                    yield from self._tree(place, found)
        except sqlite3.Error as error:
            yield self._skipped(None, say("import.no_oterm", reason=error))

    def _text(self) -> Iterator[Found]:
        try:
            data = self._file.read_bytes()
        except OSError as error:
            raise self._unreadable(error) from error
        marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        try:
            text = data.decode(self._encoding or ("utf-16" if marked else "utf-8-sig"))
            yield from self._tree(None, read_speaker_lines(text))
        except UnicodeError:
            yield self._skipped(None, say("dataset.no_utf8"))
        except InvalidRecord as error:
            yield self._skipped(None, str(error))

    def _json(self) -> Iterator[Found]:
        self._records = records = JsonRecords(self._file, self._encoding)
        parts: list[Any] = []
        for number, record in enumerate(records, 1):
            line = record.line if isinstance(record, UnreadableRecord) else record[0]
            if isinstance(record, UnreadableRecord):
                yield self._skipped(say("import.line", line=line), record.reason)
                continue
            value = record[1]
            is_element = records.is_array
            if is_element and (is_message(value) or is_pair(value)):
                parts.append(value)
                continue
            found = _read(value)
            if isinstance(found, Dialogue):
                yield found
                continue
            key = "import.line_and_item" if is_element else "import.line"
            yield from self._told(say(key, line=line, number=number), found)
        if parts:
            yield from self._told(say("import.line", line=1), _read(parts))

    def _told(
        self, place: str, found: Dialogue | ImportedConversation | InvalidRecord
    ) -> Iterator[Found]:
        if isinstance(found, Dialogue):
            yield found
        elif isinstance(found, ImportedConversation):
            yield from self._tree(place, found)
        else:
            yield self._skipped(place, str(found))

    def _tree(self, place: str | None, tree: ImportedConversation) -> Iterator[Found]:
        yield tree.transcript
        if tree.unread:
            yield self._skipped(place, say("import.unread", count=tree.unread))

    def _skipped(self, place: str | None, reason: str) -> SkippedRecord:
        where = f"{self._file}" if place is None else f"{self._file}, {place}"
        return SkippedRecord(say("import.skipped", place=where, reason=reason))


def _read(value: Any) -> Dialogue | ImportedConversation | InvalidRecord:
    """What a JSON value holds."""
    try:
        if isinstance(value, dict) and not _TREE_KEYS.isdisjoint(value):
            for is_form, read_form in _TREES:
                if is_form(value):
                    return read_form(value)
        return parse_record(value)
    except InvalidRecord as error:
        return error


def expand_paths(names: Sequence[str], suffixes: Sequence[str] = JSON_SUFFIXES) -> tuple[Path, ...]:
    """The files that ``names`` mean; a folder means its files of these suffixes, sorted by name.

    Raises:
        ChatuiError: there is no such file, or a folder without any.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
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
