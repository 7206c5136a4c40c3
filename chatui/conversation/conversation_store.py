"""The conversations of a store: listed, found, imported, shelved and deleted."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

from chatui.conversation import search_index, tables
from chatui.conversation.open_store import OpenStore, read_by, reads, writes, written_by
from chatui.conversation.rounds import Conversation, Piece, Round, Whole, title_of
from chatui.conversation.stored_values import from_stored, stored_tags, to_stored
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

if TYPE_CHECKING:
    from chatui.conversation.text_search import Hit

LONGEST_TAG = 40
_INDEXED_AT_ONCE = 500
"""Rounds of an import."""


class ConversationStore(OpenStore):
    """A store's conversations as wholes."""

    @writes
    def create_conversation(self, db: sqlite3.Connection, title: str = "") -> Conversation:
        """Create an empty conversation; it is listed from its first round on."""
        return tables.one_conversation(db, self._insert_conversation(db, title))

    @reads
    def conversations(
        self,
        db: sqlite3.Connection,
        limit: int = 1000,
        *,
        archived: bool | None = None,
        tag: str = "",
        pinned_first: bool = False,
    ) -> tuple[Conversation, ...]:
        """Conversations with at least one round, the last used first; none that was deleted.

        Args:
            limit: at most so many; below 0: all.
            archived: only those that are, or only those that are not; None: both.
            tag: only those with this tag.
            pinned_first: pinned ones stand before the others.
        """
        condition, values = "c.head_id IS NOT NULL AND c.deleted_at IS NULL", []
        if archived is not None:
            condition += f" AND c.archived = {archived:d}"
        if tag:
            condition += " AND instr(c.tags, ?)"
            values.append(stored_tags([tag]))
        order = ("c.pinned DESC, " if pinned_first else "") + "c.updated_at DESC, c.id DESC"
        return tuple(tables.conversations(db, condition, *values, limit=limit, order=order))

    def found(
        self, text: str, limit: int, overtaken: threading.Event | None = None, *, tag: str = ""
    ) -> tuple[tuple[Conversation, Hit], ...]:
        """The conversations in which ``text`` occurs, the last used first, each with its first hit.

        Args:
            limit: at most so many hits are looked for.
            overtaken: when set, the search ends with an error soon.
            tag: only conversations with this tag.
        """
        # The first paint does not pay for it.
        from chatui.conversation import text_search

        stored = stored_tags(tag and [tag])
        with self._database.reading(overtaken) as db:
            hits = text_search.find(db, text, limit, once=True, tag=stored)
            by_id = {hit.conversation_id: hit for hit in hits}
            ids = ",".join(map(str, by_id))
            listed = tables.conversations(db, f"c.id IN ({ids})")
        return tuple((each, by_id[each.id]) for each in listed)

    @reads
    def stamp(self, db: sqlite3.Connection) -> object:
        """A value that is another one when the list of conversations has changed."""
        return db.execute(
            "SELECT count(*), max(updated_at), count(deleted_at), sum(pinned), sum(archived),"
            " sum(length(tags)), sum(length(title)) FROM conversations"
        ).fetchone()

    conversation = read_by(tables.one_conversation)

    def last_conversation(self) -> Conversation | None:
        """The conversation that was used last; None if there is none."""
        return next(iter(self.conversations(limit=1, archived=False)), None)

    @reads
    def whole(
        self, db: sqlite3.Connection, conversation_id: int
    ) -> tuple[Conversation, tuple[Round, ...], dict[int, tuple[Piece, ...]]]:
        """A conversation at one moment.

        Returns:
            The conversation; all its rounds, a parent before its children; their pieces by id.
        """
        rounds = tables.tree(db, conversation_id)
        pieces = {each.id: tables.pieces(db, each.id) for each in rounds}
        return tables.one_conversation(db, conversation_id), rounds, pieces

    @reads
    def recent_models(self, db: sqlite3.Connection) -> tuple[str, ...]:
        """The models that replied, the last used first."""
        found = db.execute("SELECT model FROM rounds GROUP BY model ORDER BY max(id) DESC LIMIT 50")
        return tuple(from_stored(name) for (name,) in found.fetchall())

    def add_whole(self, wholes: Iterable[Whole]) -> tuple[int, ...]:
        """Add conversations as :meth:`whole` gives them, all or none; their new ids.

        Rounds have ended, and a parent stands before its children.
        """
        last, ids = self._insert_wholes(wholes)
        # An import reads its next conversations meanwhile.
        self._database.queue(self._index_after, last)
        return ids

    @writes
    def _insert_wholes(
        self, db: sqlite3.Connection, wholes: Iterable[Whole]
    ) -> tuple[int, tuple[int, ...]]:
        return tables.last_id(db, "rounds"), tables.insert_wholes(db, wholes)

    def _index_after(self, round_id: int) -> None:
        some = partial(search_index.index_some, most=_INDEXED_AT_ONCE, after=round_id)
        while self._database.write(some):
            pass

    def begin_to_add_whole(self, wholes: Iterable[Whole]) -> Future[tuple[int, ...]]:
        """Have the thread that writes call :meth:`add_whole`, and return at once."""
        return self._database.queue(self.add_whole, wholes)

    @writes
    def rename(self, db: sqlite3.Connection, conversation_id: int, title: str) -> Conversation:
        """Set a conversation's title; a blank one restores the start of its first query."""
        line = one_line(title, None, drop_unsafe=True)
        if not line:
            condition = "r.conversation_id = ? AND r.parent_id IS NULL"
            first = tables.rounds_where(db, condition, conversation_id)
            line = default_title(first[0].query) if first else ""
        values = (to_stored(line), conversation_id)
        db.execute("UPDATE conversations SET title = ? WHERE id = ?", values)
        return tables.one_conversation(db, conversation_id)

    @writes
    def shelve(
        self,
        db: sqlite3.Connection,
        conversation_id: int,
        *,
        pinned: bool | None = None,
        archived: bool | None = None,
        tags: Iterable[str] | None = None,
    ) -> Conversation:
        """Pin or archive a conversation, or give it other tags; None leaves as it is.

        Raises:
            ChatuiError: a tag is no word of at most ``LONGEST_TAG`` characters.
        """
        stored = None if tags is None else stored_tags(tags_of(" ".join(tags)))
        db.execute(
            "UPDATE conversations SET pinned = coalesce(?, pinned),"
            " archived = coalesce(?, archived), tags = coalesce(?, tags) WHERE id = ?",
            (pinned, archived, stored, conversation_id),
        )
        return tables.one_conversation(db, conversation_id)

    @reads
    def tags(self, db: sqlite3.Connection) -> tuple[str, ...]:
        """All tags in use, in their order."""
        listed = tables.conversations(db, "c.tags != '' AND c.deleted_at IS NULL")
        return tuple(sorted({tag for each in listed for tag in each.tags}))

    @writes
    def put_away(self, db: sqlite3.Connection, conversation_id: int) -> Conversation:
        """Delete a conversation so that :meth:`bring_back` undoes it, for a day at least."""
        one = tables.one_conversation(db, conversation_id)
        values = (self._clock(), conversation_id)
        db.execute("UPDATE conversations SET deleted_at = ? WHERE id = ?", values)
        return one

    @writes
    def bring_back(self, db: sqlite3.Connection, conversation_id: int) -> Conversation:
        """Undo :meth:`put_away`; for one that was not put away nothing changes."""
        db.execute("UPDATE conversations SET deleted_at = NULL WHERE id = ?", (conversation_id,))
        return tables.one_conversation(db, conversation_id)

    @reads
    def deleted(self, db: sqlite3.Connection) -> tuple[Conversation, ...]:
        """The conversations that :meth:`bring_back` can bring back, the last deleted first."""
        condition = "c.head_id IS NOT NULL AND c.deleted_at IS NOT NULL"
        return tuple(tables.conversations(db, condition, order="c.deleted_at DESC, c.id DESC"))

    delete = written_by(tables.delete_conversation)

    @reads
    def search(self, db: sqlite3.Connection, text: str, limit: int = 100) -> tuple[Hit, ...]:
        """Where ``text`` occurs in titles, queries and replies; see ``text_search.find``."""
        from chatui.conversation import text_search

        return text_search.find(db, text, limit)

    def _insert_conversation(self, db: sqlite3.Connection, title: str) -> int:
        now = self._clock()
        id_ = db.execute(
            "INSERT INTO conversations (title, created_at, updated_at) VALUES (?, ?, ?)",
            (to_stored(one_line(title, None, drop_unsafe=True)), now, now),
        ).lastrowid
        assert id_ is not None
        return id_


def tags_of(words: str) -> tuple[str, ...]:
    """The tags that words name, with a # before them or without.

    Raises:
        ChatuiError: one is longer than ``LONGEST_TAG`` characters, or nothing but a #.
    """
    tags = [one_line(word, None, drop_unsafe=True).lstrip("#＃") for word in words.split()]
    for tag in tags:
        if not 0 < len(tag) <= LONGEST_TAG:
            raise ChatuiError(say("history.bad_tag", most=LONGEST_TAG))
    return tuple(dict.fromkeys(tags))


def default_title(query: str) -> str:
    """The title of a conversation that begins with a query and has no other."""
    return title_of(query) or say("conversation.untitled")
