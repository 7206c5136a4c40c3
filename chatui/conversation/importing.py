"""Import conversations from files into the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from chatui.conversation.conversation_files import ConversationFiles, SkippedRecord
from chatui.conversation.dialogues import Dialogue
from chatui.conversation.rounds import (
    Conversation,
    Round,
    RoundState,
    Transcript,
    conversation_title,
)
from chatui.conversation.store import Store
from chatui.errors import ChatuiError

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
    known = {_key(each) for each in store.conversations(limit=-1)}

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
            title = conversation_title(found.conversation.title, found.rounds[0].query)
            if _key(replace(found.conversation, title=title)) in known:
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


def _key(conversation: Conversation) -> tuple[str, float, float]:
    return conversation.title, conversation.created_at, conversation.updated_at


def _transcript_from_dialogue(dialogue: Dialogue, at: float) -> Transcript:
    """Convert a dialogue to a transcript dated ``at``, in seconds since the epoch."""
    rounds = []
    for number, said in enumerate(dialogue.rounds, 1):
        state: RoundState = "stopped" if number - 1 in dialogue.unfinished else "done"
        rounds.append(Round(number, 0, number - 1 or None, *said, state, started_at=at))
    about = Conversation(0, "", at, at, len(rounds), len(rounds) or None)
    return Transcript(about, tuple(rounds))
