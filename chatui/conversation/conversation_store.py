"""The conversations of a store: listed, found, imported, shelved and deleted."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING

from chatui.conversation import search_index, tables
from chatui.conversation.open_store import OpenStore, read_by, reads, writes
from chatui.conversation.rounds import (
    Conversation,
    FullConversation,
    Piece,
    Round,
    conversation_title,
)
from chatui.conversation.stored_values import decode_text, encode_tags, encode_text
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

if TYPE_CHECKING:
    from chatui.conversation.text_search import SearchHit

LONGEST_TAG = 40
_INDEXED_AT_ONCE = 500
"""Rounds of an import."""


class ConversationStore(OpenStore):
    """A store's conversations as wholes."""

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
            values.append(encode_tags([tag]))
        order = ("c.pinned DESC, " if pinned_first else "") + "c.updated_at DESC, c.id DESC"
        return tuple(tables.conversations_where(db, condition, *values, limit=limit, order=order))

    def search_conversations(
        self, text: str, limit: int, overtaken: threading.Event | None = None, *, tag: str = ""
    ) -> tuple[tuple[Conversation, SearchHit], ...]:
        """The conversations in which ``text`` occurs, the last used first, each with its first hit.

        Args:
            limit: at most so many hits are looked for.
            overtaken: when set, the search ends with an error soon.
            tag: only conversations with this tag.
        """
        # The first paint does not pay for it.
        from chatui.conversation import text_search

        stored = encode_tags(tag and [tag])
        with self._database.reading(overtaken) as db:
            hits = text_search.search(db, text, limit, once=True, tag=stored)
            by_id = {hit.conversation_id: hit for hit in hits}
            ids = ",".join(map(str, by_id))
            listed = tables.conversations_where(db, f"c.id IN ({ids})")
        return tuple((each, by_id[each.id]) for each in listed)

    @reads
    def list_fingerprint(self, db: sqlite3.Connection) -> object:
        """A value that is another one when the list of conversations has changed."""
        return db.execute(
            "SELECT count(*), max(updated_at), count(deleted_at), sum(pinned), sum(archived),"
            " sum(length(tags)), sum(length(title)) FROM conversations"
        ).fetchone()

    conversation = read_by(tables.get_conversation)

    def last_conversation(self) -> Conversation | None:
        """The conversation that was used last; None if there is none."""
        return next(iter(self.conversations(limit=1, archived=False)), None)

    @reads
    def full_conversation(
        self, db: sqlite3.Connection, conversation_id: int
    ) -> tuple[Conversation, tuple[Round, ...], dict[int, tuple[Piece, ...]]]:
        """A conversation at one moment.

        Returns:
            The conversation; all its rounds, a parent before its children; their pieces by id.
        """
        rounds = tables.all_rounds(db, conversation_id)
        pieces = {each.id: tables.pieces(db, each.id) for each in rounds}
        return tables.get_conversation(db, conversation_id), rounds, pieces

    @reads
    def recent_models(self, db: sqlite3.Connection) -> tuple[str, ...]:
        """The models that replied, the last used first."""
        found = db.execute("SELECT model FROM rounds GROUP BY model ORDER BY max(id) DESC LIMIT 50")
        return tuple(decode_text(name) for (name,) in found.fetchall())

    def add_conversations(self, wholes: Iterable[FullConversation]) -> tuple[int, ...]:
        """Add conversations as :meth:`full_conversation` gives them, all or none; their new ids.

        Rounds have ended, and a parent stands before its children.
        """
        last, ids = self._insert_conversations(wholes)
        # An import reads its next conversations meanwhile.
        self._database.queue(self._index_after, last)
        return ids

    @writes
    def _insert_conversations(
        self, db: sqlite3.Connection, wholes: Iterable[FullConversation]
    ) -> tuple[int, tuple[int, ...]]:
        return tables.last_id(db, "rounds"), tables.insert_conversations(db, wholes)

    def _index_after(self, round_id: int) -> None:
        some = partial(search_index.index_some, most=_INDEXED_AT_ONCE, after=round_id)
        while self._database.write(some):
            pass

    def submit_conversations(self, wholes: Iterable[FullConversation]) -> Future[tuple[int, ...]]:
        """Have the thread that writes call :meth:`add_conversations`, and return at once."""
        return self._database.queue(self.add_conversations, wholes)

    @writes
    def rename(self, db: sqlite3.Connection, conversation_id: int, title: str) -> Conversation:
        """Set a conversation's title; a blank one restores the start of its first query."""
        condition = "r.conversation_id = ? AND r.parent_id IS NULL"
        first = tables.rounds_where(db, condition, conversation_id)
        line = conversation_title(title, first[0].query if first else "")
        values = (encode_text(line), conversation_id)
        db.execute("UPDATE conversations SET title = ? WHERE id = ?", values)
        return tables.get_conversation(db, conversation_id)

    @writes
    def organise(
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
        stored = None if tags is None else encode_tags(parse_tags(" ".join(tags)))
        db.execute(
            "UPDATE conversations SET pinned = coalesce(?, pinned),"
            " archived = coalesce(?, archived), tags = coalesce(?, tags) WHERE id = ?",
            (pinned, archived, stored, conversation_id),
        )
        return tables.get_conversation(db, conversation_id)

    @reads
    def tags(self, db: sqlite3.Connection) -> tuple[str, ...]:
        """All tags in use, in their order."""
        listed = tables.conversations_where(db, "c.tags != '' AND c.deleted_at IS NULL")
        return tuple(sorted({tag for each in listed for tag in each.tags}))

    @writes
    def delete(self, db: sqlite3.Connection, conversation_id: int) -> Conversation:
        """Delete a conversation so that :meth:`restore` undoes it, for a day at least."""
        one = tables.get_conversation(db, conversation_id)
        values = (self._clock(), conversation_id)
        db.execute("UPDATE conversations SET deleted_at = ? WHERE id = ?", values)
        return one

    @writes
    def restore(self, db: sqlite3.Connection, conversation_id: int) -> Conversation:
        """Undo :meth:`delete`; for one that was not put away nothing changes."""
        db.execute("UPDATE conversations SET deleted_at = NULL WHERE id = ?", (conversation_id,))
        return tables.get_conversation(db, conversation_id)

    @reads
    def deleted(self, db: sqlite3.Connection) -> tuple[Conversation, ...]:
        """The conversations that :meth:`restore` can bring back, the last deleted first."""
        condition = "c.head_id IS NOT NULL AND c.deleted_at IS NOT NULL"
        return tuple(
            tables.conversations_where(db, condition, order="c.deleted_at DESC, c.id DESC")
        )

    @reads
    def search(self, db: sqlite3.Connection, text: str, limit: int = 100) -> tuple[SearchHit, ...]:
        """Where ``text`` occurs in titles, queries and replies; see ``text_search.search``."""
        from chatui.conversation import text_search

        return text_search.search(db, text, limit)


def parse_tags(words: str) -> tuple[str, ...]:
    """The tags that words name, with a # before them or without.

    Raises:
        ChatuiError: one is longer than ``LONGEST_TAG`` characters, or nothing but a #.
    """
    tags = [one_line(word, None, drop_unsafe=True).lstrip("#＃") for word in words.split()]
    for tag in tags:
        if not 0 < len(tag) <= LONGEST_TAG:
            raise ChatuiError(say("history.bad_tag", most=LONGEST_TAG))
    return tuple(dict.fromkeys(tags))
