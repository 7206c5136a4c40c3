"""Import conversations from files into the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chatui.conversation.conversation_files import ConversationFile, SkippedRecord
from chatui.conversation.dialogues import Dialogue
from chatui.conversation.rounds import Conversation, Round, Transcript, conversation_title
from chatui.conversation.store import Store

_BATCH_CHARACTERS = 500_000
_BATCH_CONVERSATIONS = 500


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
    """Add the conversations of ``files`` to the store, in batches.

    A conversation is skipped if the store had one with its title and times before.

    Args:
        on_progress: called after each batch.
        on_skipped: called with a sentence for each record that cannot be read.

    Raises:
        ChatuiError: a file cannot be read, or the store cannot be written; earlier batches stay.
    """
    counts = ImportCounts(total_bytes=sum(file.stat().st_size for file in files))
    batches = _BatchWriter(store, counts)
    before = 0
    for file in files:
        reading = ConversationFile(file, encoding)
        modified_at = file.stat().st_mtime
        for found in reading:
            if isinstance(found, SkippedRecord):
                counts.skipped += 1
                on_skipped(found.sentence)
                continue
            if isinstance(found, Dialogue):
                found = _transcript_from_dialogue(found, modified_at)
            if batches.add(found):
                counts.done_bytes = before + reading.done_bytes
                on_progress(counts)
        before += file.stat().st_size
        batches.save()
        batches.wait()
        counts.done_bytes = before
        on_progress(counts)
    return counts


class _BatchWriter:
    """Saves conversations in batches, one transaction each."""

    def __init__(self, store: Store, counts: ImportCounts) -> None:
        self._store = store
        self._counts = counts
        self._known = {_key(each) for each in store.conversations(limit=-1)}
        self._batch: list[Transcript] = []
        self._characters = 0
        # One batch is saved while the next is read.
        self._saved: list[Transcript] = []
        self._saving = store.submit_conversations(())

    def add(self, whole: Transcript) -> bool:
        """Add a conversation to the batch; return True if that began to save the batch."""
        if not whole.rounds:
            return False
        title = conversation_title(whole.conversation.title, whole.rounds[0].query)
        if _key(replace(whole.conversation, title=title)) in self._known:
            self._counts.known += 1
            return False
        self._batch.append(whole)
        self._characters += sum(len(one.query) + len(one.reply) for one in whole.rounds)
        if self._characters < _BATCH_CHARACTERS and len(self._batch) < _BATCH_CONVERSATIONS:
            return False
        self.save()
        return True

    def save(self) -> None:
        """Wait for the previous batch and begin to save this one."""
        self.wait()
        self._saving = self._store.submit_conversations(self._batch)
        self._saved = self._batch
        self._batch, self._characters = [], 0

    def wait(self) -> None:
        """Wait until the batch being saved is saved."""
        self._saving.result()
        self._counts.conversations += len(self._saved)
        self._counts.rounds += sum(len(each.rounds) for each in self._saved)
        self._saved = []


def _key(conversation: Conversation) -> tuple[str, float, float]:
    return conversation.title, conversation.created_at, conversation.updated_at


def _transcript_from_dialogue(dialogue: Dialogue, at: float) -> Transcript:
    """Convert a dialogue to a transcript dated ``at``, in seconds since the epoch."""
    rounds = tuple(
        Round(
            number,
            0,
            number - 1 or None,
            query,
            reply,
            "stopped" if number - 1 in dialogue.unfinished else "done",
            started_at=at,
        )
        for number, (query, reply) in enumerate(dialogue.rounds, 1)
    )
    about = Conversation(0, "", at, at, len(rounds), len(rounds) or None)
    return Transcript(about, rounds)
