"""Open and close a store, and end the rounds of processes that died."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

from chatui.conversation import search_index, tables
from chatui.conversation.database import Database, ProgressHandler, plain_errors
from chatui.conversation.presence import Presence
from chatui.conversation.rounds import Round
from chatui.errors import ChatuiError

_SECONDS_UNTIL_PURGE = 24 * 3600
"""Seconds for which a deleted conversation can be restored."""
_INDEXED_AT_ONCE = 100
"""Rounds indexed in one transaction, which takes some hundredths of a second."""

Result = TypeVar("Result")
P = ParamSpec("P")
Connected: TypeAlias = Callable[Concatenate[sqlite3.Connection, P], Result]
S = TypeVar("S", bound="OpenStore")


def reads(
    method: Callable[Concatenate[S, sqlite3.Connection, P], Result],
) -> Callable[Concatenate[S, P], Result]:
    """Make a method of the store from one that reads through a connection, in one transaction."""

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        with self._database.reading() as db:
            return method(self, db, *args, **kwargs)

    return call


def writes(
    method: Callable[Concatenate[S, sqlite3.Connection, P], Result],
) -> Callable[Concatenate[S, P], Result]:
    """Make a method of the store from one that writes through a connection, in one transaction.

    It runs in the writing thread.
    """

    @wraps(method)
    def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        return self._database.write(lambda db: method(self, db, *args, **kwargs))

    return call


def read_by(function: Connected[P, Result]) -> Callable[Concatenate[OpenStore, P], Result]:
    """Make a method of the store from a function that reads through a connection."""
    return reads(lambda self, db, *args, **kwargs: function(db, *args, **kwargs))


def written_by(function: Connected[P, Result]) -> Callable[Concatenate[OpenStore, P], Result]:
    """Make a method of the store from a function that writes through a connection."""
    return writes(lambda self, db, *args, **kwargs: function(db, *args, **kwargs))


class OpenStore:
    """The part of a store that opens and closes its file and coordinates processes.

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
        self._presence = None if file is None else Presence(file)

    def announce(self) -> None:
        """Announce this process as a writer to the others; close the store if that fails.

        Raises:
            ChatuiError: the folder cannot be written, or has no file locks (a network drive).
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
        """Queue a call of a writing method and await its result.

        Cancelling the awaiting task does not cancel the write.
        """
        return await asyncio.shield(asyncio.wrap_future(self._database.queue(write, *args)))

    def close(self) -> None:
        """Close the store; rounds that it is still streaming become "interrupted"."""
        try:
            presence = self._presence
            if presence is not None and presence.name:
                # If this fails, the next start does it.
                with suppress(ChatuiError):
                    self._database.write(lambda db: _interrupt(db, presence.name))
        finally:
            self._database.close()
            if self._presence is not None:
                self._presence.leave()

    def recover_rounds(self) -> tuple[Round, ...]:
        """Mark rounds whose process died in mid-reply as "interrupted" and return them.

        Rounds that a running chatui is writing stay as they are. Conversations deleted more than a
        day ago are removed permanently. Rounds that an upgrade left unindexed are indexed from now
        on, between other writes.
        """
        if self._presence is None:
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
        assert self._presence is not None
        names = db.execute("SELECT DISTINCT writer FROM rounds WHERE state = 'streaming'")
        gone = [name for (name,) in names.fetchall() if not self._presence.is_alive(name)]
        long_ago = (self._clock() - _SECONDS_UNTIL_PURGE,)
        deleted = db.execute("SELECT id FROM conversations WHERE deleted_at < ?", long_ago)
        for (id_,) in deleted.fetchall():
            tables.delete_conversation(db, id_)
        return gone, [each for name in gone for each in _interrupt(db, name)]


def _interrupt(db: sqlite3.Connection, writer: str) -> list[Round]:
    """Mark the streaming rounds of one process as interrupted, with the pieces saved of them."""
    ended = []
    for each in tables.rounds_where(db, "r.state = 'streaming' AND r.writer = ?", writer):
        pieces = tables.pieces(db, each.id)
        seconds = pieces[-1].at_seconds if pieces else 0.0
        ended.append(replace(each, state="interrupted", output_tokens=len(pieces), seconds=seconds))
        tables.update_round(db, ended[-1])
    return ended
