"""The store: conversations and their rounds in an SQLite file.

Several chatui processes can use one file at once, and several threads can share a :class:`Store`.
Writes run one after another in one thread; reads do not wait for them. Code on an event loop calls
reading methods in a worker thread (``asyncio.to_thread``) and queues writing methods with
:meth:`Store.queued`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from chatui.conversation import tables
from chatui.conversation.conversation_store import ConversationStore
from chatui.conversation.open_store import read_by, reads, writes, written_by
from chatui.conversation.rounds import Conversation, Piece, Round, conversation_title
from chatui.errors import ChatuiError
from chatui.locales import say


class Store(ConversationStore):
    """Conversations on disk, or in memory.

    Every method raises ``ChatuiError`` if the file cannot be read or written (no permission, disk
    full, locked by another program, damaged), or if the conversation or round does not exist. A
    failed call leaves the database unchanged.
    """

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
        begun = Round(
            0,
            id_,
            parent_id,
            query,
            model=model,
            format=format,
            seed=seed,
            sampling=sampling or {},
            started_at=now,
            corrects_id=corrects_id,
        )
        writer = "" if self._presence is None else self._presence.announce()
        round_id = tables.insert_round(db, begun, writer)
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
