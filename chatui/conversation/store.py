"""The store: conversations and their rounds in an SQLite file.

Several chatui processes may use one file at once. A :class:`Store` may be called from any thread:
one lock serialises its calls. Reads and appends take about a millisecond, so that they may be
called from an event loop; while another process writes, a call waits for it (at most
``database.BUSY_SECONDS``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from chatui.conversation import reading, writing
from chatui.conversation.database import Database, plain_errors
from chatui.conversation.presence import Presence
from chatui.conversation.rounds import Conversation, Piece, Round, State, title_of
from chatui.conversation.rows import pieces_to_stored, sampling_to_stored
from chatui.conversation.search import Hit, conversations_with, find, has_index
from chatui.conversation.storable import to_stored
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

_EMPTY_KEPT_SECONDS = 24 * 3600


class Store:
    """Conversations on disk, or in memory.

    Every method raises ``ChatuiError`` where the file cannot be read or written (unwritable, disk
    full, held by another program, damaged), or where the conversation or round does not exist; the
    database is then as it was before the call.
    """

    def __init__(self, file: Path | None, *, clock: Callable[[], float] = time.time) -> None:
        """Open ``file``, made or upgraded as needed; None keeps everything in memory.

        Args:
            clock: seconds since the epoch.
        """
        self.file = file
        self._clock = clock
        self._database = Database(file)
        self._presence = None if file is None else Presence(file)
        with self._database.reading() as db:
            self._has_index = has_index(db)

    @classmethod
    def in_memory(cls) -> Store:
        """A store that saves nothing, for when the disk cannot be written."""
        return cls(None)

    def close(self) -> None:
        """End using the store; rounds that it still streams become "interrupted"."""
        try:
            if self._presence is not None and self._presence.name:
                # What cannot be written now is recovered at the next start.
                with suppress(ChatuiError), self._database.writing() as db:
                    writing.interrupt(db, self._presence.name, self._has_index)
        finally:
            self._database.close()
            if self._presence is not None:
                self._presence.leave()

    # Conversations

    def create_conversation(self, title: str = "") -> Conversation:
        """A new, empty conversation; it is listed from its first round on."""
        now = self._clock()
        with self._database.writing() as db:
            id_ = db.execute(
                "INSERT INTO conversations (title, created_at, updated_at) VALUES (?, ?, ?)",
                (to_stored(one_line(title, None, drop_unsafe=True)), now, now),
            ).lastrowid
            assert id_ is not None
            return reading.conversation(db, id_)

    def conversations(self, search: str = "", limit: int = 1000) -> tuple[Conversation, ...]:
        """Conversations with at least one round, the last used first.

        Args:
            search: only those with this text in their title, a query or a reply.
            limit: at most so many.
        """
        with self._database.reading() as db:
            if not search.strip():
                return tuple(reading.conversations(db, limit))
            wanted = conversations_with(db, search, self._has_index)
            found = reading.conversations(db, -1)
        return tuple(c for c in found if c.id in wanted)[:limit]

    def conversation(self, conversation_id: int) -> Conversation:
        """The conversation with this id."""
        with self._database.reading() as db:
            return reading.conversation(db, conversation_id)

    def last_conversation(self) -> Conversation | None:
        """The conversation that was used last; None where there is none."""
        return next(iter(self.conversations(limit=1)), None)

    def rename(self, conversation_id: int, title: str) -> Conversation:
        """Give a conversation a title; a blank one gives it its first query's start again."""
        with self._database.writing() as db:
            reading.conversation(db, conversation_id)
            line = one_line(title, None, drop_unsafe=True)
            if not line:
                condition = "conversation_id = ? AND parent_id IS NULL"
                first = reading.rounds_where(db, condition, conversation_id)
                line = _default_title(first[0].query) if first else ""
            db.execute(
                "UPDATE conversations SET title = ? WHERE id = ?",
                (to_stored(line), conversation_id),
            )
            return reading.conversation(db, conversation_id)

    def delete(self, conversation_id: int) -> None:
        """Delete a conversation with all its rounds; one that does not exist is no error."""
        with self._database.writing() as db:
            writing.delete_conversation(db, conversation_id, self._has_index)

    # The tree of rounds

    def rounds(self, conversation_id: int, head_id: int | None = None) -> tuple[Round, ...]:
        """The rounds from the first to ``head_id`` (None: the conversation's head)."""
        with self._database.reading() as db:
            head = head_id or reading.conversation(db, conversation_id).head_id
            found = reading.path(db, conversation_id, head)
            if head_id is not None and not found:
                raise ChatuiError(say("conversation.no_round", id=head_id))
            return tuple(found)

    def tree(self, conversation_id: int) -> tuple[Round, ...]:
        """All rounds of a conversation, every version of them, a parent before its children."""
        with self._database.reading() as db:
            reading.conversation(db, conversation_id)
            return tuple(reading.rounds_where(db, "conversation_id = ?", conversation_id))

    def round(self, round_id: int) -> Round:
        """The round with this id."""
        with self._database.reading() as db:
            return reading.one_round(db, round_id)

    def siblings(self, round_id: int) -> tuple[Round, ...]:
        """The versions of a round: all with its parent, itself included, the oldest first."""
        with self._database.reading() as db:
            this = reading.one_round(db, round_id)
            condition = "conversation_id = ? AND parent_id IS ?"
            return tuple(reading.rounds_where(db, condition, this.conversation_id, this.parent_id))

    def leaf(self, round_id: int) -> int:
        """The end of the path that goes on from a round, along the newest version each time."""
        with self._database.reading() as db:
            return reading.leaf(db, round_id)

    def set_head(self, conversation_id: int, round_id: int) -> Conversation:
        """Look at the path that ends in this round."""
        with self._database.writing() as db:
            if reading.one_round(db, round_id).conversation_id != conversation_id:
                raise ChatuiError(say("conversation.foreign_round", id=round_id))
            db.execute(
                "UPDATE conversations SET head_id = ? WHERE id = ?", (round_id, conversation_id)
            )
            return reading.conversation(db, conversation_id)

    # Writing a round

    def add_round(
        self,
        conversation_id: int,
        parent_id: int | None,
        query: str,
        model: str = "",
        format: str = "",
        sampling: Mapping[str, Any] | None = None,
        seed: int | None = None,
    ) -> Round:
        """Begin a round after ``parent_id`` (None: a first round); it becomes the head.

        The first round gives the conversation its title, where it has none.
        """
        now = self._clock()
        values = {
            "model": to_stored(model),
            "format": to_stored(format),
            "seed": _seed_to_stored(seed),
            "sampling": sampling_to_stored(sampling),
            "started_at": now,
            "query": to_stored(query),
        }
        with self._database.writing() as db:
            title = reading.conversation(db, conversation_id).title or _default_title(query)
            writer = "" if self._presence is None else self._presence.announce()
            id_ = writing.insert_round(db, conversation_id, parent_id, writer, values)
            db.execute(
                "UPDATE conversations SET head_id = ?, updated_at = ?, title = ? WHERE id = ?",
                (id_, now, to_stored(title), conversation_id),
            )
            return reading.one_round(db, id_)

    def append_pieces(self, round_id: int, pieces: Iterable[Piece]) -> None:
        """Save what came since the last call, as one batch; the work is that of the new alone."""
        batch = tuple(pieces)
        if batch:
            with self._database.writing() as db:
                writing.append_batch(db, round_id, pieces_to_stored(batch))

    def finish_round(
        self,
        round_id: int,
        state: State,
        reply: str,
        *,
        pieces: Iterable[Piece] = (),
        finish_reason: str | None = None,
        seed: int | None = None,
        prompt_tokens: int = 0,
        reused_tokens: int = 0,
        output_tokens: int = 0,
        seconds: float = 0.0,
        error: str | None = None,
    ) -> Round:
        """End a round with its whole reply.

        It has been the head since it began, unless the user looked elsewhere meanwhile; that stays.

        Args:
            pieces: the last ones, saved in the same transaction.
            seed: None keeps the one that the round began with.
        """
        batch = tuple(pieces)
        values = {
            "state": state,
            "reply": to_stored(reply),
            "finish_reason": finish_reason,
            "prompt_tokens": prompt_tokens,
            "reused_tokens": reused_tokens,
            "output_tokens": output_tokens,
            "seconds": seconds,
            "error": None if error is None else to_stored(error),
        }
        if seed is not None:
            values["seed"] = _seed_to_stored(seed)
        with self._database.writing() as db:
            conversation_id = reading.one_round(db, round_id).conversation_id
            if batch:
                writing.append_batch(db, round_id, pieces_to_stored(batch))
            writing.end_round(db, round_id, self._has_index, values)
            db.execute(
                "UPDATE conversations SET updated_at = ? WHERE id = ?",
                (self._clock(), conversation_id),
            )
            return reading.one_round(db, round_id)

    def pieces(self, round_id: int) -> tuple[Piece, ...]:
        """All pieces of a round, in the order they came."""
        with self._database.reading() as db:
            return tuple(reading.pieces(db, round_id))

    def recover(self) -> tuple[Round, ...]:
        """End the rounds whose process died in mid-reply: "interrupted", with what was saved.

        Rounds that a living chatui is writing are left alone. Empty conversations of yesterday
        and before are removed.
        """
        if self._presence is None:
            return ()
        recovered: list[Round] = []
        with self._database.writing() as db:
            names = db.execute("SELECT DISTINCT writer FROM rounds WHERE state = 'streaming'")
            gone = [name for (name,) in names.fetchall() if not self._presence.is_alive(name)]
            for name in gone:
                recovered += writing.interrupt(db, name, self._has_index)
            db.execute(
                "DELETE FROM conversations WHERE updated_at < ?"
                " AND id NOT IN (SELECT conversation_id FROM rounds)",
                (self._clock() - _EMPTY_KEPT_SECONDS,),
            )
        with plain_errors(self.file):
            for name in gone:
                self._presence.forget(name)
            self._presence.sweep()
        return tuple(recovered)

    # Search

    def search(self, text: str, limit: int = 100) -> tuple[Hit, ...]:
        """Where ``text`` occurs in titles, queries and replies; see ``search.find``."""
        with self._database.reading() as db:
            return find(db, text, limit, self._has_index)


def _default_title(query: str) -> str:
    return title_of(query) or say("conversation.untitled")


def _seed_to_stored(seed: int | None) -> str | None:
    return None if seed is None else str(seed)
