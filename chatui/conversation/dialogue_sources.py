"""Where dialogues come from: files of any known form, and saved conversations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

from chatui.conversation.conversation_files import ConversationFile, SkippedRecord
from chatui.conversation.dialogues import Dialogue
from chatui.conversation.reply_choice import (
    EVERY_REPLY,
    PreferencePair,
    ReplyChoice,
    dialogues_of,
    pairs_of,
)
from chatui.conversation.rounds import Conversation, Round
from chatui.conversation.store import Store
from chatui.conversation.transcript import Transcript
from chatui.locales import say

_Whole: TypeAlias = tuple[Conversation, Sequence[Round]]
"""A conversation, and its rounds or those of its path."""


@dataclass
class DialogueSources:
    """Files and conversations, read one after the other in constant memory.

    Attributes:
        files: of any form that :class:`ConversationFile` knows.
        store: holds the conversations; None if there are none.
        conversations: their ids.
        encoding: of the files; None for UTF-8.
        choice: which replies go out; other files than transcripts say nothing that it goes by.
    """

    files: Sequence[Path]
    store: Store | None = None
    conversations: Sequence[int] = ()
    encoding: str | None = None
    choice: ReplyChoice = EVERY_REPLY
    _before: int = field(default=0, init=False)
    _reading: ConversationFile | None = field(default=None, init=False)

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def done_bytes(self) -> int:
        """Bytes of the files that are read."""
        return self._before + (self._reading.done_bytes if self._reading else 0)

    def fingerprint(self) -> str:
        """Changes when a file or a conversation does, or the choice."""
        versions: list[object] = [self.encoding, asdict(self.choice)]
        for file in self.files:
            stat = file.stat()
            versions += [str(file.resolve()), stat.st_size, stat.st_mtime_ns]
        for id in self.conversations:
            assert self.store is not None
            about = self.store.conversation(id)
            versions += [id, about.updated_at, about.head_id]
            if self.choice.rating is not None:
                versions += [(one.id, one.rating) for one in self.store.all_rounds(id)]
        return hashlib.sha256(json.dumps(versions).encode()).hexdigest()

    def __iter__(self) -> Iterator[Dialogue | SkippedRecord]:
        """The dialogues in their order, always the same.

        Raises:
            ChatuiError: a file or a conversation cannot be read at all.
        """
        for found in self._found(wholes_only=self.choice != EVERY_REPLY):
            if isinstance(found, tuple):
                yield from dialogues_of(*found, self.choice)
            else:
                yield found

    def pairs(self) -> Iterator[PreferencePair | SkippedRecord]:
        """The preference pairs in their order; raises as iterating does."""
        for found in self._found(wholes_only=True):
            if isinstance(found, tuple):
                yield from pairs_of(*found, self.choice)
            elif isinstance(found, SkippedRecord):
                yield found

    def _found(self, *, wholes_only: bool) -> Iterator[_Whole | Dialogue | SkippedRecord]:
        """Everything in its order.

        Args:
            wholes_only: tell of files in which no round says more than its texts.
        """
        self._before = 0
        for file in self.files:
            self._reading = ConversationFile(file, self.encoding)
            is_told = False
            for found in self._reading:
                if isinstance(found, Transcript):
                    yield found.conversation, found.rounds
                elif not wholes_only or isinstance(found, SkippedRecord):
                    yield found
                elif not is_told:
                    is_told = True
                    yield SkippedRecord(say("dataset.only_texts", path=file))
            self._before += file.stat().st_size
            self._reading = None
        for id in self.conversations:
            yield self._saved(id, path_only=not wholes_only)

    def _saved(self, id: int, *, path_only: bool = False) -> _Whole:
        assert self.store is not None
        rounds = self.store.rounds if path_only else self.store.all_rounds
        return self.store.conversation(id), rounds(id)
