"""The database file: opening it, and what can go wrong with it in plain words."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chatui.conversation.upgrades import upgrade
from chatui.errors import ChatuiError
from chatui.locales import say

BUSY_SECONDS = 5.0


class Database:
    """One connection, for any thread: a lock lets one transaction run at a time."""

    def __init__(self, file: Path | None) -> None:
        """Open the database, made or upgraded as needed; None keeps it in memory.

        Folder and file are made for the user alone.

        Raises:
            ChatuiError: the file cannot be opened or written, is no database, or is a newer one.
        """
        self._file = file
        self._lock = threading.RLock()
        with plain_errors(file):
            self._connection = _connect(file)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, in one consistent view.

        Raises:
            ChatuiError: see :func:`plain_errors`.
        """
        with self._lock, plain_errors(self._file):
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection, in a transaction that is kept wholly or not at all.

        Raises:
            ChatuiError: see :func:`plain_errors`.
        """
        with self._lock, plain_errors(self._file):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # SQLite rolls back by itself on some errors, a full disk among them.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """End using the connection."""
        with self._lock:
            self._connection.close()


def _connect(file: Path | None) -> sqlite3.Connection:
    """A connection that commits each statement by itself; transactions are begun by hand."""
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(
        ":memory:" if file is None else file,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        if file is not None:
            _use_wal(connection)
            # Safe against kill -9; a power cut may lose the last moments, never the file.
            connection.execute("PRAGMA synchronous = NORMAL")
        upgrade(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; SQLite does not wait by itself when others do the same."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


@contextmanager
def plain_errors(file: Path | None) -> Iterator[None]:
    """Turn what SQLite and the system say about the file into one sentence.

    Raises:
        ChatuiError: in place of any ``OSError`` and of ``sqlite3.DatabaseError`` from the file;
            misuse of SQL stays what it is, a bug.
    """
    path = file or ":memory:"
    try:
        yield
    except OSError as error:
        raise ChatuiError(
            say("conversation.unwritable", path=path, reason=error.strerror or error)
        ) from error
    except sqlite3.OperationalError as error:
        raise ChatuiError(say(_key_of(str(error)), path=path, reason=error)) from error
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise
    except sqlite3.DatabaseError as error:
        raise ChatuiError(say("conversation.damaged", path=path, reason=error)) from error


def _key_of(message: str) -> str:
    """The sentence for SQLite's message (its codes are exposed from Python 3.11 on only)."""
    if "full" in message:
        return "conversation.disk_full"
    if "locked" in message or "busy" in message:
        return "conversation.busy"
    if any(sign in message for sign in ("malformed", "no such", "already exists")):
        return "conversation.damaged"
    return "conversation.unwritable"
