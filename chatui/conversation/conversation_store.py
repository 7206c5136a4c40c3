"""List, search, import, organise and delete the conversations of a store."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeAlias, TypeVar

from chatui.conversation import tables
from chatui.conversation.database import Database
from chatui.conversation.rounds import (
    Conversation,
    Transcript,
    conversation_title,
)
from chatui.conversation.stored_values import decode_text, encode_tags, encode_text
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

if TYPE_CHECKING:
    from chatui.conversation.text_search import SearchHit

LONGEST_TAG = 40

Result = TypeVar("Result")
P = ParamSpec("P")
S = TypeVar("S", bound="ConversationStore")
Method: TypeAlias = Callable[Concatenate[S, P], Result]
ConnectedMethod: TypeAlias = Callable[Concatenate[S, sqlite3.Connection, P], Result]
Connected: TypeAlias = Callable[Concatenate[sqlite3.Connection, P], Result]


def reads(method: ConnectedMethod[S, P, Result]) -> Method[S, P, Result]:
    """Make a method of the store from one that reads through a connection, in one transaction."""

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        with self._database.reading() as db:
            return method(self, db, *args, **kwargs)

    return call


def writes(method: ConnectedMethod[S, P, Result]) -> Method[S, P, Result]:
    """Make a method of the store from one that writes through a connection, in one transaction.

    It runs in the writing thread.
    """

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return self._database.write(lambda db: method(self, db, *args, **kwargs))

    return call


def read_by(function: Connected[P, Result]) -> Method[ConversationStore, P, Result]:
    """Make a method of the store from a function that reads through a connection."""
    return reads(lambda _, db, *args, **kwargs: function(db, *args, **kwargs))


def written_by(function: Connected[P, Result]) -> Method[ConversationStore, P, Result]:
    """Make a method of the store from a function that writes through a connection."""
    return writes(lambda self, db, *args, **kwargs: function(db, *args, **kwargs))


class ConversationStore:
    """The part of a store that handles whole conversations."""

    _database: Database
    _clock: Callable[[], float]

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
        """Return the conversations, last used first.

        Args:
            limit: maximum number; negative for all.
            archived: True for archived ones only, False for the others, None for both.
            tag: return only conversations with this tag.
            pinned_first: list pinned conversations before the others.
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
        self, text: str, limit: int, cancelled: threading.Event | None = None, *, tag: str = ""
    ) -> tuple[tuple[Conversation, SearchHit], ...]:
        """Return the conversations that contain ``text``, last used first, with their first hits.

        Args:
            limit: maximum number of conversations.
            cancelled: setting it cancels the search, which then raises ChatuiError.
            tag: search only conversations with this tag.
        """
        # Importing it here keeps the start of the app fast.
        from chatui.conversation import text_search

        stored = encode_tags([tag] if tag else [])
        with self._database.reading(cancelled) as db:
            hits = text_search.search(db, text, limit, once=True, tag=stored)
            by_id = {hit.conversation_id: hit for hit in hits}
            ids = ",".join(map(str, by_id))
            listed = tables.conversations_where(db, f"c.id IN ({ids})")
        return tuple((each, by_id[each.id]) for each in listed)

    @reads
    def list_fingerprint(self, db: sqlite3.Connection) -> object:
        """Return a value that changes when the list of conversations changes."""
        # As bytes, because text in a damaged database may not be UTF-8.
        listed = "id || ' ' || updated_at || pinned || archived || tags || title"
        return db.execute(
            f"SELECT CAST(group_concat({listed}) AS BLOB) FROM conversations"
            " WHERE deleted_at IS NULL"
        ).fetchone()

    conversation = read_by(tables.get_conversation)

    def last_conversation(self) -> Conversation | None:
        """Return the conversation used last that is not archived; None if there is none."""
        return next(iter(self.conversations(limit=1, archived=False)), None)

    @reads
    def transcript(self, db: sqlite3.Connection, conversation_id: int) -> Transcript:
        """Return a whole conversation, read in one transaction."""
        conversation = tables.get_conversation(db, conversation_id)
        rounds = tables.all_rounds(db, conversation_id)
        pieces = {each.id: tables.pieces(db, each.id) for each in rounds}
        prompts = {id: prompt.mark() for id in pieces if (prompt := tables.prompt(db, id))}
        return Transcript(conversation, rounds, pieces, prompts)

    @reads
    def recent_models(self, db: sqlite3.Connection) -> tuple[str, ...]:
        """Return the names of up to 50 models that replied, last used first."""
        found = db.execute("SELECT model FROM rounds GROUP BY model ORDER BY max(id) DESC LIMIT 50")
        return tuple(decode_text(name) for (name,) in found.fetchall())

    add_conversations = written_by(tables.insert_conversations)

    def submit_conversations(self, added: Iterable[Transcript]) -> Future[tuple[int, ...]]:
        """Queue :meth:`add_conversations` for the writing thread and return at once."""
        return self._database.queue(self.add_conversations, added)

    @writes
    def rename(self, db: sqlite3.Connection, conversation_id: int, title: str) -> Conversation:
        """Set a conversation's title; a blank title restores the start of its first query."""
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
        """Pin or archive a conversation or replace its tags; None leaves a value unchanged.

        Raises:
            ChatuiError: see :func:`parse_tags`.
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
        """Return all tags in use, sorted."""
        listed = tables.conversations_where(db, "c.tags != '' AND c.deleted_at IS NULL")
        return tuple(sorted({tag for each in listed for tag in each.tags}))

    @writes
    def delete(self, db: sqlite3.Connection, conversation_id: int) -> Conversation:
        """Delete a conversation; :meth:`restore` can undo this for at least a day."""
        one = tables.get_conversation(db, conversation_id)
        values = (self._clock(), conversation_id)
        db.execute("UPDATE conversations SET deleted_at = ? WHERE id = ?", values)
        return one

    @writes
    def restore(self, db: sqlite3.Connection, conversation_id: int) -> Conversation:
        """Undo :meth:`delete`; a conversation that was not deleted stays unchanged."""
        db.execute("UPDATE conversations SET deleted_at = NULL WHERE id = ?", (conversation_id,))
        return tables.get_conversation(db, conversation_id)

    @reads
    def deleted(self, db: sqlite3.Connection) -> tuple[Conversation, ...]:
        """Return the conversations that :meth:`restore` can restore, last deleted first."""
        condition = "c.head_id IS NOT NULL AND c.deleted_at IS NOT NULL"
        return tuple(
            tables.conversations_where(db, condition, order="c.deleted_at DESC, c.id DESC")
        )

    @reads
    def search(self, db: sqlite3.Connection, text: str, limit: int = 100) -> tuple[SearchHit, ...]:
        """Return the places in titles, queries and replies that contain ``text``.

        See ``text_search.search``.
        """
        from chatui.conversation import text_search

        return text_search.search(db, text, limit)


def parse_tags(words: str) -> tuple[str, ...]:
    """Return the tags in ``words``, each written with or without a leading #.

    Raises:
        ChatuiError: a tag is longer than ``LONGEST_TAG`` characters, or only a #.
    """
    tags = [one_line(word, None, drop_unsafe=True).lstrip("#＃") for word in words.split()]
    for tag in tags:
        if not 0 < len(tag) <= LONGEST_TAG:
            raise ChatuiError(say("history.bad_tag", most=LONGEST_TAG))
    return tuple(dict.fromkeys(tags))
