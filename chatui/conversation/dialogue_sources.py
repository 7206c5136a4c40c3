"""Where dialogues come from: files of any known form, and saved conversations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chatui.conversation.conversation_files import ConversationFile, SkippedRecord
from chatui.conversation.dialogues import Dialogue, of_rounds
from chatui.conversation.store import Store
from chatui.conversation.transcript import Transcript


@dataclass
class DialogueSources:
    """Files and conversations, read one after the other in constant memory.

    Attributes:
        files: of any form that :class:`ConversationFile` knows.
        store: holds the conversations; None if there are none.
        conversations: their ids.
        encoding: of the files; None for UTF-8.
    """

    files: Sequence[Path]
    store: Store | None = None
    conversations: Sequence[int] = ()
    encoding: str | None = None
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
        """Changes when a file or a conversation does."""
        versions: list[object] = [self.encoding]
        for file in self.files:
            stat = file.stat()
            versions += [str(file.resolve()), stat.st_size, stat.st_mtime_ns]
        for id in self.conversations:
            assert self.store is not None
            versions += [id, self.store.conversation(id).updated_at]
        return hashlib.sha256(json.dumps(versions).encode()).hexdigest()

    def __iter__(self) -> Iterator[Dialogue | SkippedRecord]:
        """The dialogues in their order, always the same.

        Raises:
            ChatuiError: a file or a conversation cannot be read at all.
        """
        self._before = 0
        for file in self.files:
            self._reading = ConversationFile(file, self.encoding)
            for found in self._reading:
                yield of_rounds(found.path()) if isinstance(found, Transcript) else found
            self._before += file.stat().st_size
            self._reading = None
        for id in self.conversations:
            assert self.store is not None
            yield of_rounds(self.store.rounds(id))
