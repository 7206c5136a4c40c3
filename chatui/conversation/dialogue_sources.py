"""Read training dialogues from files in any known format and from saved conversations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from chatui.conversation.conversation_files import ConversationFile, FileRecord, SkippedRecord
from chatui.conversation.dialogues import Dialogue
from chatui.conversation.reply_filter import (
    ALL_REPLIES,
    PreferencePair,
    ReplyFilter,
    matching_dialogues,
    preference_pairs,
)
from chatui.conversation.rounds import Transcript
from chatui.conversation.store import Store
from chatui.locales import say


@dataclass
class DialogueSources:
    """Files and saved conversations, read one after another in constant memory.

    Attributes:
        files: in any format that :class:`ConversationFile` reads.
        store: holds the conversations; None if there are none.
        conversations: ids of saved conversations.
        encoding: of the files; None for UTF-8.
        reply_filter: which replies to train on. Other files than transcripts lack ratings, models
            and times; with a filter, their dialogues are skipped.
    """

    files: Sequence[Path]
    store: Store | None = None
    conversations: Sequence[int] = ()
    encoding: str | None = None
    reply_filter: ReplyFilter = ALL_REPLIES
    _before: int = field(default=0, init=False)
    _reading: ConversationFile | None = field(default=None, init=False)

    @property
    def total_bytes(self) -> int:
        """Total size of the files."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def done_bytes(self) -> int:
        """Bytes read so far."""
        return self._before + (self._reading.done_bytes if self._reading else 0)

    def fingerprint(self) -> str:
        """Return a hash that changes with the files, the conversations and the filter."""
        versions: list[object] = [self.encoding, asdict(self.reply_filter)]
        for file in self.files:
            stat = file.stat()
            versions += [str(file.resolve()), stat.st_size, stat.st_mtime_ns]
        for id in self.conversations:
            assert self.store is not None
            about = self.store.conversation(id)
            versions += [id, about.updated_at, about.head_id, about.tags]
            if self.reply_filter.rating is not None:
                versions += [(one.id, one.rating) for one in self.store.all_rounds(id)]
        return hashlib.sha256(json.dumps(versions).encode()).hexdigest()

    def __iter__(self) -> Iterator[Dialogue | SkippedRecord]:
        """Yield the dialogues, always in the same order.

        Raises:
            ChatuiError: a file or a conversation cannot be read.
        """
        for found in self._found(wholes_only=self.reply_filter != ALL_REPLIES):
            if isinstance(found, Transcript):
                yield from matching_dialogues(found, self.reply_filter)
            else:
                yield found

    def pairs(self) -> Iterator[PreferencePair | SkippedRecord]:
        """Yield the preference pairs; raises as ``__iter__`` does."""
        for found in self._found(wholes_only=True):
            if isinstance(found, Transcript):
                yield from preference_pairs(found, self.reply_filter)
            elif isinstance(found, SkippedRecord):
                yield found

    def _found(self, *, wholes_only: bool) -> Iterator[FileRecord]:
        """Yield everything in order.

        Args:
            wholes_only: skip dialogues without ratings and models, once a file with a message.
        """
        self._before = 0
        for file in self.files:
            self._reading = ConversationFile(file, self.encoding)
            was_reported = False
            for found in self._reading:
                if not (wholes_only and isinstance(found, Dialogue)):
                    yield found
                elif not was_reported:
                    was_reported = True
                    yield SkippedRecord(say("dataset.only_texts", path=file))
            self._before += file.stat().st_size
            self._reading = None
        for id in self.conversations:
            assert self.store is not None
            rounds = self.store.all_rounds if wholes_only else self.store.rounds
            yield Transcript(self.store.conversation(id), rounds(id))
