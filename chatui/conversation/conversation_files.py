"""Read conversations from files of all known formats, in constant memory, and import them.

The formats are JSON and JSON Lines with the records of :mod:`.dialogues` or the message trees of
:mod:`.imports`, transcripts, oterm's database, and text in which lines name the speaker.
"""

from __future__ import annotations

import codecs
import io
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from chatui.conversation.dialogues import Dialogue, InvalidRecord, is_message, is_pair, parse_record
from chatui.conversation.imports.program_exports import (
    DATABASE_MAGIC,
    read_message_tree,
    read_oterm,
)
from chatui.conversation.imports.speaker_lines import read_speaker_lines
from chatui.conversation.json_records import UTF_16_MARKS, JsonRecords, UnreadableRecord, opened
from chatui.conversation.rounds import Conversation, Round, Transcript, conversation_title
from chatui.conversation.store import Store
from chatui.conversation.transcript_events import FORMAT
from chatui.conversation.transcript_reader import read_transcript
from chatui.errors import ChatuiError
from chatui.locales import say

JSON_SUFFIXES = (".json", ".jsonl")
_BATCH_CHARACTERS, _BATCH_CONVERSATIONS = 500_000, 500
"""Most characters and conversations imported in one transaction."""

_TEXT_SUFFIXES = (".md", ".markdown", ".txt")
IMPORT_SUFFIXES = (*JSON_SUFFIXES, *_TEXT_SUFFIXES, ".db")
"""Suffixes of the files that are imported from a folder."""

_PEEKED_BYTES = 4096


@dataclass(frozen=True)
class SkippedRecord:
    """A record that was skipped, and a sentence that says why."""

    sentence: str


FileRecord: TypeAlias = "Dialogue | Transcript | SkippedRecord"
Parsed: TypeAlias = "Dialogue | Transcript | InvalidRecord"


@dataclass
class ConversationFiles:
    """The conversations of several files, read one after another.

    Attributes:
        encoding: of the files; None for UTF-8, or UTF-16 with a byte order mark.
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
        if head.startswith(UTF_16_MARKS):
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
        encoding = self.encoding or ("utf-16" if data.startswith(UTF_16_MARKS) else "utf-8-sig")
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


def _results(file: Path, place: str | None, found: Parsed) -> Iterator[FileRecord]:
    if isinstance(found, InvalidRecord):
        yield _skipped(file, place, str(found))
        return
    yield found
    if isinstance(found, Transcript) and (count := found.unread_messages):
        yield _skipped(file, place, say("import.unread", count=count))


def _skipped(file: Path, place: str | None, reason: str) -> SkippedRecord:
    where = str(file) if place is None else say("import.in_file", path=file, place=place)
    return SkippedRecord(say("import.skipped", place=where, reason=reason))


def _parse(value: Any) -> Parsed:
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
            words = say("conversation.file_unreadable", path=path, reason=error)
            raise ChatuiError(words) from error
        else:
            if not inside:
                raise ChatuiError(say("dataset.empty_folder", path=path))
            found += inside
    return tuple(found)


@dataclass
class ImportCounts:
    """The progress of an import.

    Attributes:
        conversations, rounds: numbers added.
        known: conversations that the store had already.
        skipped: problems reported.
        done_bytes, total_bytes: bytes of the files read, and of all files.
    """

    conversations: int = 0
    rounds: int = 0
    known: int = 0
    skipped: int = 0
    done_bytes: int = 0
    total_bytes: int = 0


def import_files(
    store: Store,
    files: Sequence[Path],
    *,
    encoding: str | None = None,
    on_progress: Callable[[ImportCounts], None],
    on_skipped: Callable[[str], None],
) -> ImportCounts:
    """Add the conversations of ``files`` to the store, in batches of one transaction each.

    A conversation is skipped if the store had one with its title and times before.

    Args:
        on_progress: called after each batch.
        on_skipped: called with a sentence for each record that cannot be read.

    Raises:
        ChatuiError: a file cannot be read, or the store cannot be written; earlier batches stay.
    """
    reading = ConversationFiles(files, encoding)
    counts = ImportCounts(total_bytes=reading.total_bytes)
    listed = store.conversations(limit=-1)
    known = {(each.title, each.created_at, each.updated_at) for each in listed}

    def new_conversations() -> Iterator[Transcript]:
        for file, found in reading.read():
            if isinstance(found, SkippedRecord):
                counts.skipped += 1
                on_skipped(found.sentence)
                continue
            if isinstance(found, Dialogue):
                found = _transcript_from_dialogue(found, file.stat().st_mtime)
            if not found.rounds:
                continue
            about = found.conversation
            title = conversation_title(about.title, found.rounds[0].query)
            if (title, about.created_at, about.updated_at) in known:
                counts.known += 1
            else:
                yield found

    saving = store.submit_conversations(())
    for batch in _batches(new_conversations()):
        # One batch is saved while the next is read.
        saving.result()
        saving = store.submit_conversations(batch)
        counts.conversations += len(batch)
        counts.rounds += sum(len(each.rounds) for each in batch)
        counts.done_bytes = reading.done_bytes
        on_progress(counts)
    saving.result()
    return counts


def _batches(conversations: Iterator[Transcript]) -> Iterator[list[Transcript]]:
    """Yield the conversations in batches; an error follows the conversations read before it."""
    batch: list[Transcript] = []
    characters = 0
    try:
        for each in conversations:
            batch.append(each)
            characters += sum(len(one.query) + len(one.reply) for one in each.rounds)
            if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_CONVERSATIONS:
                yield batch
                batch, characters = [], 0
    except ChatuiError:
        yield batch
        raise
    yield batch


def _transcript_from_dialogue(dialogue: Dialogue, at: float) -> Transcript:
    """Convert a dialogue to a transcript dated ``at``, in seconds since the epoch."""
    rounds = []
    for before, said in enumerate(dialogue.rounds):
        state: Literal["stopped", "done"] = "stopped" if before in dialogue.unfinished else "done"
        rounds.append(Round(before + 1, 0, before or None, *said, state, started_at=at))
    about = Conversation(0, "", at, at, head_id=len(rounds) or None)
    return Transcript(about, tuple(rounds))
