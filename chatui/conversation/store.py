"""The store: conversations and their rounds in an SQLite file.

Several chatui processes may use one file at once, and several threads one :class:`Store`. Writes
pass through one queue; a read waits for none of them. An event loop calls the methods that read in
a worker thread (``asyncio.to_thread``) and queues those that write (:meth:`Store.queued`).
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from chatui.conversation import tables
from chatui.conversation.database import Beat, Database, plain_errors
from chatui.conversation.presence import Presence
from chatui.conversation.rounds import (
    Conversation,
    Piece,
    Rating,
    ReadPrompt,
    Round,
    Whole,
    title_of,
)
from chatui.conversation.stored_values import from_stored, to_stored
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

if TYPE_CHECKING:
    from chatui.conversation.text_search import Hit

_KEPT_SECONDS = 24 * 3600
LONGEST_TAG = 40

Result = TypeVar("Result")
P = ParamSpec("P")


def _find(
    db: sqlite3.Connection, text: str, limit: int, *, once: bool, tag: str = ""
) -> tuple[Hit, ...]:
    # The first paint does not pay for it.
    from chatui.conversation import text_search

    return text_search.find(db, text, limit, once=once, tag=tag)


def _reads(
    method: Callable[Concatenate[Store, sqlite3.Connection, P], Result],
) -> Callable[Concatenate[Store, P], Result]:
    """Run a method of the store with one consistent view of the database."""

    @wraps(method)
    def call(self: Store, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        with self._database.reading() as db:
            return method(self, db, *args, **kwargs)

    return call


def _writes(
    method: Callable[Concatenate[Store, sqlite3.Connection, P], Result],
) -> Callable[Concatenate[Store, P], Result]:
    """Run a method of the store in a transaction of the thread that writes."""

    @wraps(method)
    def call(self: Store, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return self._database.write(lambda db: method(self, db, *args, **kwargs))

    return call


class Store:
    """Conversations on disk, or in memory.

    Every method raises ``ChatuiError`` if the file cannot be read or written (unwritable, disk
    full, held by another program, damaged), or if the conversation or round does not exist; the
    database is then as it was before the call.
    """

    def __init__(
        self,
        file: Path | None,
        *,
        clock: Callable[[], float] = time.time,
        beat: Beat | None = None,
    ) -> None:
        """Open ``file``, creating or upgrading it; None keeps everything in memory.

        Args:
            clock: seconds since the epoch.
            beat: called again and again while it is opened: an upgrade may take a minute.
        """
        self.file = file
        self._clock = clock
        self._database = Database(file, beat)
        self._presence = None if file is None else Presence(file)

    @classmethod
    def in_memory(cls) -> Store:
        """A store that saves nothing, for when the disk cannot be written."""
        return cls(None)

    def announce(self) -> None:
        """Tell other processes that this one writes, before it does; closes the store if it cannot.

        Raises:
            ChatuiError: the folder cannot be written, or knows no locks (a network drive).
        """
        if self._presence is None:
            return
        try:
            with plain_errors(self.file):
                self._presence.announce()
        except ChatuiError:
            self._database.close()
            raise

    async def queued(self, write: Callable[..., Result], *args: Any) -> Result:
        """Call one of the methods that write, after those queued before, and await its result.

        Cancelling the task that awaits does not cancel the write.
        """
        return await asyncio.shield(asyncio.wrap_future(self._database.queue(write, *args)))

    def close(self) -> None:
        """Stop using the store; rounds that it still streams become "interrupted"."""
        try:
            presence = self._presence
            if presence is not None and presence.name:
                # What cannot be written now is recovered at the next start.
                with suppress(ChatuiError):
                    self._database.write(lambda db: _interrupt(db, presence.name))
        finally:
            self._database.close()
            if self._presence is not None:
                self._presence.leave()

    # Conversations

    @_writes
    def create_conversation(self, db: sqlite3.Connection, title: str = "") -> Conversation:
        """Create an empty conversation; it is listed from its first round on."""
        return tables.one_conversation(db, self._insert_conversation(db, title))

    def conversations(
        self,
        search: str = "",
        limit: int = 1000,
        overtaken: threading.Event | None = None,
        *,
        archived: bool | None = None,
        tag: str = "",
        pinned_first: bool = False,
    ) -> tuple[Conversation, ...]:
        """Conversations with at least one round, the last used first; none that was deleted.

        Args:
            search: only those with this text in their title, a query or a reply.
            limit: at most so many.
            overtaken: when set, the search ends with an error soon.
            archived: only those that are, or only those that are not; None: both.
            tag: only those with this tag.
            pinned_first: pinned ones stand before the others.
        """
        condition, values = "c.head_id IS NOT NULL AND c.deleted_at IS NULL", []
        if archived is not None:
            condition += f" AND c.archived = {archived:d}"
        if tag:
            condition += " AND instr(c.tags, ?)"
            values.append(tables.stored_tags([tag]))
        order = ("c.pinned DESC, " if pinned_first else "") + "c.updated_at DESC, c.id DESC"
        with self._database.reading(overtaken) as db:
            if not search.strip():
                found = tables.conversations(db, condition, *values, limit=limit, order=order)
                return tuple(found)
            hits = _find(db, search, -1, once=True)
            wanted = {hit.conversation_id for hit in hits}
            found = tables.conversations(db, condition, *values, order=order)
        return tuple(each for each in found if each.id in wanted)[:limit]

    def found(
        self, text: str, limit: int, overtaken: threading.Event | None = None, *, tag: str = ""
    ) -> tuple[tuple[Conversation, Hit], ...]:
        """The conversations in which ``text`` occurs, the last used first, each with its first hit.

        Args:
            limit: at most so many hits are looked for.
            overtaken: when set, the search ends with an error soon.
            tag: only conversations with this tag.
        """
        with self._database.reading(overtaken) as db:
            hits = _find(db, text, limit, once=True, tag=tables.stored_tags(tag and [tag]))
            by_id = {hit.conversation_id: hit for hit in hits}
            ids = ",".join(map(str, by_id))
            listed = tables.conversations(db, f"c.id IN ({ids})")
        return tuple((each, by_id[each.id]) for each in listed)

    @_reads
    def stamp(self, db: sqlite3.Connection) -> object:
        """A value that is another one when the list of conversations has changed."""
        return db.execute(
            "SELECT count(*), max(updated_at), count(deleted_at), sum(pinned), sum(archived),"
            " sum(length(tags)), sum(length(title)) FROM conversations"
        ).fetchone()

    @_reads
    def conversation(self, db: sqlite3.Connection, conversation_id: int) -> Conversation:
        """The conversation with this id."""
        return tables.one_conversation(db, conversation_id)

    def last_conversation(self) -> Conversation | None:
        """The conversation that was used last; None if there is none."""
        return next(iter(self.conversations(limit=1, archived=False)), None)

    @_reads
    def whole(
        self, db: sqlite3.Connection, conversation_id: int
    ) -> tuple[Conversation, tuple[Round, ...], dict[int, tuple[Piece, ...]]]:
        """A conversation at one moment.

        Returns:
            The conversation; all its rounds, a parent before its children; their pieces by id.
        """
        rounds = tuple(tables.tree(db, conversation_id))
        pieces = {each.id: tuple(tables.pieces(db, each.id)) for each in rounds}
        return tables.one_conversation(db, conversation_id), rounds, pieces

    @_reads
    def recent_models(self, db: sqlite3.Connection) -> tuple[str, ...]:
        """The models that replied, the last used first."""
        found = db.execute("SELECT model FROM rounds GROUP BY model ORDER BY max(id) DESC LIMIT 50")
        return tuple(from_stored(name) for (name,) in found.fetchall())

    @_writes
    def add_whole(self, db: sqlite3.Connection, wholes: Iterable[Whole]) -> tuple[int, ...]:
        """Add conversations as :meth:`whole` gives them, all or none; their new ids.

        Rounds have ended, and a parent stands before its children.
        """
        return tables.insert_wholes(db, wholes)

    def begin_to_add_whole(self, wholes: Iterable[Whole]) -> Future[tuple[int, ...]]:
        """Have the thread that writes call :meth:`add_whole`, and return at once."""
        return self._database.queue(self.add_whole, wholes)

    @_writes
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

    @_writes
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
        stored = None if tags is None else tables.stored_tags(tags_of(" ".join(tags)))
        db.execute(
            "UPDATE conversations SET pinned = coalesce(?, pinned),"
            " archived = coalesce(?, archived), tags = coalesce(?, tags) WHERE id = ?",
            (pinned, archived, stored, conversation_id),
        )
        return tables.one_conversation(db, conversation_id)

    @_reads
    def tags(self, db: sqlite3.Connection) -> tuple[str, ...]:
        """All tags in use, in their order."""
        listed = tables.conversations(db, "c.tags != '' AND c.deleted_at IS NULL")
        return tuple(sorted({tag for each in listed for tag in each.tags}))

    @_writes
    def put_away(self, db: sqlite3.Connection, conversation_id: int) -> Conversation:
        """Delete a conversation so that :meth:`bring_back` undoes it, for a day at least."""
        one = tables.one_conversation(db, conversation_id)
        values = (self._clock(), conversation_id)
        db.execute("UPDATE conversations SET deleted_at = ? WHERE id = ?", values)
        return one

    @_writes
    def bring_back(self, db: sqlite3.Connection, conversation_id: int) -> Conversation:
        """Undo :meth:`put_away`; for one that was not put away nothing changes."""
        db.execute("UPDATE conversations SET deleted_at = NULL WHERE id = ?", (conversation_id,))
        return tables.one_conversation(db, conversation_id)

    @_reads
    def deleted(self, db: sqlite3.Connection) -> tuple[Conversation, ...]:
        """The conversations that :meth:`bring_back` can bring back, the last deleted first."""
        condition = "c.head_id IS NOT NULL AND c.deleted_at IS NOT NULL"
        return tuple(tables.conversations(db, condition, order="c.deleted_at DESC, c.id DESC"))

    @_writes
    def delete(self, db: sqlite3.Connection, conversation_id: int) -> None:
        """Delete a conversation with all its rounds; one that does not exist is no error."""
        tables.delete_conversation(db, conversation_id)

    # The tree of rounds

    @_reads
    def rounds(
        self, db: sqlite3.Connection, conversation_id: int, head_id: int | None = None
    ) -> tuple[Round, ...]:
        """The rounds from the first to ``head_id`` (None: the conversation's head)."""
        head = head_id or tables.one_conversation(db, conversation_id).head_id
        found = tables.path(db, conversation_id, head)
        if head_id is not None and not found:
            raise ChatuiError(say("conversation.no_round", id=head_id))
        return tuple(found)

    @_reads
    def all_rounds(self, db: sqlite3.Connection, conversation_id: int) -> tuple[Round, ...]:
        """All versions of all rounds of a conversation, a parent before its children."""
        return tuple(tables.tree(db, conversation_id))

    @_reads
    def round(self, db: sqlite3.Connection, round_id: int) -> Round:
        """The round with this id."""
        return tables.one_round(db, round_id)

    @_reads
    def siblings(self, db: sqlite3.Connection, round_id: int) -> tuple[Round, ...]:
        """The versions of a round: all with its parent, itself included, the oldest first."""
        one = tables.one_round(db, round_id)
        condition = "r.conversation_id = ? AND r.parent_id IS ?"
        return tuple(tables.rounds_where(db, condition, one.conversation_id, one.parent_id))

    @_reads
    def leaf(self, db: sqlite3.Connection, round_id: int) -> int:
        """The end of the path that goes on from a round, along the newest version each time."""
        child: int | None = tables.one_round(db, round_id).id
        while child is not None:
            round_id = child
            # A child's id is higher; in a damaged database parents may go in a circle.
            newest = db.execute(
                "SELECT max(id) FROM rounds WHERE parent_id = ?1 AND id > ?1", (round_id,)
            )
            (child,) = newest.fetchone()
        return round_id

    @_writes
    def set_head(self, db: sqlite3.Connection, conversation_id: int, round_id: int) -> Conversation:
        """Look at the path that ends in this round."""
        if tables.one_round(db, round_id).conversation_id != conversation_id:
            raise ChatuiError(say("conversation.foreign_round", id=round_id))
        values = (round_id, conversation_id)
        db.execute("UPDATE conversations SET head_id = ? WHERE id = ?", values)
        return tables.one_conversation(db, conversation_id)

    # Writing a round

    @_writes
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

        A first round gives its conversation a title, unless it has one.

        Args:
            conversation_id: None creates a conversation.
            corrects_id: the round whose reply the user corrects with this one.
        """
        now = self._clock()
        id_ = conversation_id or self._insert_conversation(db, "")
        title = tables.one_conversation(db, id_).title or default_title(query)
        begun = Round(0, id_, parent_id, query, model=model, format=format, started_at=now)
        begun = replace(begun, seed=seed, sampling=sampling or {}, corrects_id=corrects_id)
        writer = "" if self._presence is None else self._presence.announce()
        round_id = tables.insert_round(db, begun, writer)
        db.execute(
            "UPDATE conversations SET head_id = ?, updated_at = ?, title = ? WHERE id = ?",
            (round_id, now, to_stored(title), id_),
        )
        return tables.one_round(db, round_id)

    @_writes
    def save_prompt(self, db: sqlite3.Connection, round_id: int, prompt: ReadPrompt) -> None:
        """Keep what the model reads for a round."""
        tables.save_prompt(db, round_id, prompt)

    @_reads
    def prompt(self, db: sqlite3.Connection, round_id: int) -> ReadPrompt | None:
        """What the model read for a round; None if that was not kept."""
        return tables.prompt(db, round_id)

    @_writes
    def append_pieces(self, db: sqlite3.Connection, round_id: int, pieces: Iterable[Piece]) -> None:
        """Save what came since the last call, as one batch; earlier batches are not touched."""
        tables.append_pieces(db, round_id, pieces)

    @_writes
    def finish_round(
        self, db: sqlite3.Connection, ended: Round, pieces: Iterable[Piece] = ()
    ) -> Round:
        """End a round.

        It has been the head since it began, unless the user looked elsewhere meanwhile; that stays.

        Args:
            ended: as :meth:`add_round` returned it, with its end.
            pieces: the last ones, saved in the same transaction.
        """
        tables.append_pieces(db, ended.id, pieces)
        tables.update_round(db, ended)
        values = (self._clock(), ended.conversation_id)
        db.execute("UPDATE conversations SET updated_at = ? WHERE id = ?", values)
        return tables.one_round(db, ended.id)

    @_writes
    def rate(
        self,
        db: sqlite3.Connection,
        round_id: int,
        rating: Rating | None = None,
        note: str | None = None,
    ) -> Round:
        """Keep what the user thinks of a reply; None leaves rating or note as it is."""
        tables.rate(db, round_id, rating, note)
        return tables.one_round(db, round_id)

    @_reads
    def pieces(self, db: sqlite3.Connection, round_id: int) -> tuple[Piece, ...]:
        """All pieces of a round, in the order they came."""
        return tuple(tables.pieces(db, round_id))

    def recover(self) -> tuple[Round, ...]:
        """End the rounds whose process died in mid-reply: "interrupted", with what was saved.

        Rounds that a living chatui is writing stay as they are. Empty conversations and deleted
        ones go for good after a day.
        """
        if self._presence is None:
            return ()
        gone, recovered = self._interrupt_the_dead()
        with plain_errors(self.file):
            for name in gone:
                self._presence.forget(name)
            self._presence.sweep()
        return tuple(recovered)

    @_writes
    def _interrupt_the_dead(self, db: sqlite3.Connection) -> tuple[list[str], list[Round]]:
        assert self._presence is not None
        names = db.execute("SELECT DISTINCT writer FROM rounds WHERE state = 'streaming'")
        gone = [name for (name,) in names.fetchall() if not self._presence.is_alive(name)]
        long_ago = (self._clock() - _KEPT_SECONDS,)
        db.execute(
            "DELETE FROM conversations WHERE updated_at < ?"
            " AND id NOT IN (SELECT conversation_id FROM rounds)",
            long_ago,
        )
        deleted = db.execute("SELECT id FROM conversations WHERE deleted_at < ?", long_ago)
        for (id_,) in deleted.fetchall():
            tables.delete_conversation(db, id_)
        return gone, [each for name in gone for each in _interrupt(db, name)]

    # Search

    def search(
        self,
        text: str,
        limit: int = 100,
        overtaken: threading.Event | None = None,
        *,
        once: bool = False,
    ) -> tuple[Hit, ...]:
        """Where ``text`` occurs in titles, queries and replies; see ``text_search.find``.

        Args:
            overtaken: when set, the search ends with an error soon.
            once: give the first hit of each conversation.
        """
        with self._database.reading(overtaken) as db:
            return _find(db, text, limit, once=once)

    def _insert_conversation(self, db: sqlite3.Connection, title: str) -> int:
        now = self._clock()
        id_ = db.execute(
            "INSERT INTO conversations (title, created_at, updated_at) VALUES (?, ?, ?)",
            (to_stored(one_line(title, None, drop_unsafe=True)), now, now),
        ).lastrowid
        assert id_ is not None
        return id_


def _interrupt(db: sqlite3.Connection, writer: str) -> list[Round]:
    """End the streaming rounds of one process with what was saved of them."""
    ended = []
    for each in tables.rounds_where(db, "r.state = 'streaming' AND r.writer = ?", writer):
        pieces = tables.pieces(db, each.id)
        seconds = pieces[-1].at_seconds if pieces else 0.0
        ended.append(replace(each, state="interrupted", output_tokens=len(pieces), seconds=seconds))
        tables.update_round(db, ended[-1])
    return ended


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
