"""The store: conversations and their rounds in an SQLite file.

Several chatui processes can use one file at once, and several threads can share a :class:`Store`.
Writes run one after another in one thread; reads do not wait for them. Code on an event loop calls
reading methods in a worker thread (``asyncio.to_thread``) and queues writing methods with
:meth:`Store.queued`.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from chatui.conversation import search_index, tables
from chatui.conversation.conversation_store import (
    ConversationStore,
    Result,
    read_by,
    reads,
    writes,
    written_by,
)
from chatui.conversation.database import Database, ProgressHandler, plain_errors
from chatui.conversation.presence import Presence
from chatui.conversation.rounds import Conversation, Piece, Round, conversation_title, interrupted
from chatui.errors import ChatuiError
from chatui.locales import say

_SECONDS_UNTIL_PURGE = 24 * 3600
"""Seconds for which a deleted conversation can be restored."""
_INDEXED_AT_ONCE = 100
"""Rounds indexed in one transaction, which takes some hundredths of a second."""


class Store(ConversationStore):
    """Conversations on disk, or in memory.

    Every method raises ``ChatuiError`` if the file cannot be read or written (no permission, disk
    full, locked by another program, damaged), or if the conversation or round does not exist. A
    failed call leaves the database unchanged.

    Attributes:
        file: the database; None if it is in memory.
    """

    def __init__(
        self,
        file: Path | None,
        *,
        clock: Callable[[], float] = time.time,
        on_progress: ProgressHandler | None = None,
    ) -> None:
        """Open ``file``, creating or upgrading it; None keeps the database in memory, unsaved.

        Args:
            clock: returns seconds since the epoch.
            on_progress: called repeatedly while the file is opened; an upgrade may take seconds.
        """
        self.file = file
        self._clock = clock
        self._database = Database(file, on_progress)
        self._presence = Presence(file)

    def announce(self) -> None:
        """Announce this process as a writer to the others; close the store if that fails.

        Raises:
            ChatuiError: the folder cannot be written, or has no file locks (a network drive).
        """
        try:
            with plain_errors(self.file):
                self._presence.announce()
        except ChatuiError:
            self._database.close()
            raise

    async def queued(self, write: Callable[..., Result], *args: Any) -> Result:
        """Queue a call of a writing method and await its result.

        Cancelling the awaiting task does not cancel the write.
        """
        return await asyncio.shield(asyncio.wrap_future(self._database.queue(write, *args)))

    def close(self) -> None:
        """Close the store; rounds that it is still streaming become "interrupted"."""
        try:
            if self._presence.name:
                # If this fails, the next start does it.
                with suppress(ChatuiError):
                    self._database.write(lambda db: _interrupt(db, self._presence.name))
        finally:
            self._database.close()
            self._presence.leave()

    def recover_rounds(self) -> tuple[Round, ...]:
        """Mark rounds whose process died in mid-reply as "interrupted" and return them.

        Rounds that a running chatui is writing stay as they are. Conversations deleted more than a
        day ago are removed permanently. Rounds that an upgrade left unindexed are indexed from now
        on, between other writes.
        """
        if self.file is None:
            return ()
        self._database.queue(self._index_rest)
        gone, recovered = self._end_interrupted()
        with plain_errors(self.file):
            for name in gone:
                self._presence.forget(name)
            self._presence.sweep()
        return tuple(recovered)

    def _index_rest(self) -> None:
        index_some = partial(search_index.index_some, most=_INDEXED_AT_ONCE)
        if self._database.write(index_some):
            # A RuntimeError means that the store is closed; the next start continues.
            with suppress(RuntimeError):
                self._database.queue(self._index_rest)

    @writes
    def _end_interrupted(self, db: sqlite3.Connection) -> tuple[list[str], list[Round]]:
        names = db.execute("SELECT DISTINCT writer FROM rounds WHERE state = 'streaming'")
        gone = [name for (name,) in names.fetchall() if not self._presence.is_alive(name)]
        long_ago = (self._clock() - _SECONDS_UNTIL_PURGE,)
        deleted = db.execute("SELECT id FROM conversations WHERE deleted_at < ?", long_ago)
        for (id_,) in deleted.fetchall():
            tables.delete_conversation(db, id_)
        return gone, [each for name in gone for each in _interrupt(db, name)]

    # The tree of rounds

    @reads
    def rounds(
        self, db: sqlite3.Connection, conversation_id: int, head_id: int | None = None
    ) -> tuple[Round, ...]:
        """Return the rounds from the first to ``head_id`` (None: the conversation's head)."""
        head = head_id or tables.get_conversation(db, conversation_id).head_id
        found = tables.rounds_to(db, conversation_id, head)
        if head_id is not None and not found:
            raise ChatuiError(say("conversation.no_round", id=head_id))
        return tuple(found)

    all_rounds = read_by(tables.all_rounds)
    round = read_by(tables.get_round)

    @reads
    def siblings(self, db: sqlite3.Connection, round_id: int) -> tuple[Round, ...]:
        """Return the versions of a round, oldest first: all rounds with its parent."""
        one = tables.get_round(db, round_id)
        condition = "r.conversation_id = ? AND r.parent_id IS ?"
        return tuple(tables.rounds_where(db, condition, one.conversation_id, one.parent_id))

    @reads
    def leaf(self, db: sqlite3.Connection, round_id: int) -> int:
        """Return the last round of the path from a round through its newest descendants."""
        path = (
            "WITH RECURSIVE path (id) AS (SELECT ? UNION ALL SELECT"
            # Ids of children are higher. The check ends a cycle in a damaged database.
            " (SELECT max(id) FROM rounds WHERE parent_id = path.id AND rounds.id > path.id)"
            " FROM path WHERE id IS NOT NULL) SELECT max(id) FROM path"
        )
        (leaf,) = db.execute(path, (tables.get_round(db, round_id).id,)).fetchone()
        return int(leaf)

    @writes
    def set_head(self, db: sqlite3.Connection, conversation_id: int, round_id: int) -> Conversation:
        """Show the path that ends in this round."""
        if tables.get_round(db, round_id).conversation_id != conversation_id:
            raise ChatuiError(say("conversation.foreign_round", id=round_id))
        values = (round_id, conversation_id)
        db.execute("UPDATE conversations SET head_id = ? WHERE id = ?", values)
        return tables.get_conversation(db, conversation_id)

    # Writing a round

    @writes
    def add_round(
        self,
        db: sqlite3.Connection,
        conversation_id: int | None,
        parent_id: int | None,
        query: str,
        model: str = "",
        format: str = "",
        sampling: Mapping[str, Any] | None = None,
        seed: int | None = None,
        corrects_id: int | None = None,
    ) -> Round:
        """Begin a round after ``parent_id`` (None: a first round); it becomes the head.

        Args:
            conversation_id: None creates a conversation, titled with the start of ``query``.
            corrects_id: the round that the user corrects with this one.
        """
        now = self._clock()
        if conversation_id is None:
            id_ = tables.insert_conversation(db, conversation_title("", query), now)
        else:
            id_ = tables.get_conversation(db, conversation_id).id
        by = model, format, None, seed, sampling or {}
        begun = Round(
            0, id_, parent_id, query, "", "streaming", *by, started_at=now, corrects_id=corrects_id
        )
        round_id = tables.insert_round(db, begun, self._presence.announce())
        values = (round_id, now, id_)
        db.execute("UPDATE conversations SET head_id = ?, updated_at = ? WHERE id = ?", values)
        return tables.get_round(db, round_id)

    save_prompt = written_by(tables.save_prompt)
    prompt = read_by(tables.prompt)
    append_pieces = written_by(tables.append_pieces)
    pieces = read_by(tables.pieces)
    rate = written_by(tables.rate)

    @writes
    def finish_round(
        self, db: sqlite3.Connection, ended: Round, pieces: Iterable[Piece] = ()
    ) -> Round:
        """Save the end of a round; the conversation's head does not change.

        Args:
            ended: the round that :meth:`add_round` returned, with its reply and final state.
            pieces: the unsaved pieces, saved in the same transaction.
        """
        tables.append_pieces(db, ended.id, pieces)
        tables.update_round(db, ended)
        values = (self._clock(), ended.conversation_id)
        db.execute("UPDATE conversations SET updated_at = ? WHERE id = ?", values)
        return tables.get_round(db, ended.id)


def _interrupt(db: sqlite3.Connection, writer: str) -> list[Round]:
    """Mark the streaming rounds of one process as interrupted, with the pieces saved of them."""
    streaming = tables.rounds_where(db, "r.state = 'streaming' AND r.writer = ?", writer)
    ended = [interrupted(each, tables.pieces(db, each.id)) for each in streaming]
    for each in ended:
        tables.update_round(db, each)
    return ended
