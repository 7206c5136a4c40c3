"""The SQLite file: its connections, transactions and errors.

One thread writes, in the order of the calls. Every read uses a separate connection and does not
wait for writers of this or another process.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from chatui.conversation.upgrades import back_up_old_version, upgrade
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

BUSY_SECONDS = 10.0
"""Maximum seconds that a write waits for a lock held by another process."""

_STEPS_BETWEEN_CHECKS = 10_000
"""Virtual machine instructions of SQLite between checks whether a read was cancelled."""
_STEPS_BETWEEN_CALLS = 200_000
"""Virtual machine instructions of SQLite between calls of a progress handler."""
_LOG_INDEX_BYTES = 32 * 1024
"""Free space that SQLite needs to open a database with a write-ahead log."""

ProgressHandler: TypeAlias = Callable[[], None]
"""Called repeatedly while a database is opened, so that the user sees progress."""

Result = TypeVar("Result")


class DamagedDatabaseError(ChatuiError):
    """The file is damaged, or not a database."""


def damage_mark(file: Path) -> Path:
    """Return the path of the empty file that marks a database as damaged for the next start."""
    return file.with_name(file.name + ".damaged")


class Database:
    """Transactions on one file; its methods may be called from any thread."""

    def __init__(self, file: Path | None, on_progress: ProgressHandler | None = None) -> None:
        """Open the database, creating or upgrading it; None keeps it in memory.

        A new folder or file is readable by its owner only.

        Raises:
            ChatuiError: the file cannot be opened or written, or was written by a newer version.
            DamagedDatabaseError: it is damaged, or not a database.
        """
        self._file = file
        with plain_errors(file):
            self._writing_connection = connect_for_writing(file, on_progress)
        self._thread = 0
        self._queue = ThreadPoolExecutor(1, "chatui-store", self._remember_thread)
        self._idle_readers: list[sqlite3.Connection] = []
        # A database in memory has one connection for all threads.
        self._in_memory_lock = threading.RLock()

    def _remember_thread(self) -> None:
        self._thread = threading.get_ident()

    def queue(self, call: Callable[..., Result], *args: Any) -> Future[Result]:
        """Queue ``call`` for the writing thread."""
        return self._queue.submit(call, *args)

    def write(self, job: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run ``job`` in a transaction of the writing thread and return its result.

        Raises:
            ChatuiError: see :func:`plain_errors`. The transaction was rolled back.
        """
        if threading.get_ident() == self._thread:
            return self._transaction(job)
        return self._queue.submit(self._transaction, job).result()

    @contextmanager
    def reading(self, cancelled: threading.Event | None = None) -> Iterator[sqlite3.Connection]:
        """Yield a connection in a read transaction.

        Args:
            cancelled: setting it ends the running query with an error.

        Raises:
            ChatuiError: see :func:`plain_errors`.
        """
        with plain_errors(self._file), self._reader() as connection:
            if cancelled is not None:
                connection.set_progress_handler(cancelled.is_set, _STEPS_BETWEEN_CHECKS)
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.set_progress_handler(None, 0)
                connection.execute("ROLLBACK")

    def close(self) -> None:
        """Wait for the queued writes and close the connections."""
        self._queue.shutdown()
        for connection in (self._writing_connection, *self._idle_readers):
            connection.close()

    def _transaction(self, job: Callable[[sqlite3.Connection], Result]) -> Result:
        with self._in_memory_lock, plain_errors(self._file), self._writing_connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            return job(connection)

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        if self._file is None:
            with self._in_memory_lock:
                yield self._writing_connection
            return
        try:
            connection = self._idle_readers.pop()
        except IndexError:
            connection = _connect(self._file)
        try:
            yield connection
        finally:
            self._idle_readers.append(connection)


def _connect(file: Path | None) -> sqlite3.Connection:
    """Open a connection in autocommit mode; the callers begin the transactions."""
    return sqlite3.connect(
        ":memory:" if file is None else file,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def connect_for_writing(
    file: Path | None, on_progress: ProgressHandler | None = None
) -> sqlite3.Connection:
    """Open or create a database and upgrade its schema; None keeps it in memory."""
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    connection = _connect(file)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        with interruptible(connection, on_progress):
            if file is not None:
                _use_wal(connection)
                # Survives kill -9. A power cut may lose the last transactions, not the file.
                connection.execute("PRAGMA synchronous = NORMAL")
                back_up_old_version(connection, file)
            upgrade(connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def interruptible(
    connection: sqlite3.Connection, on_progress: ProgressHandler | None
) -> Iterator[None]:
    """Call ``on_progress`` while SQLite runs statements, and let Ctrl+C interrupt them.

    Raises:
        KeyboardInterrupt: Ctrl+C was pressed; SQLite has rolled back the statement.
    """
    if on_progress is None:
        yield
        return
    pressed: list[int] = []

    def on_steps() -> bool:
        on_progress()
        return bool(pressed)

    # sqlite3 turns an exception raised in a progress handler into an OperationalError.
    is_main = threading.current_thread() is threading.main_thread()
    before = is_main and signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    connection.set_progress_handler(on_steps, _STEPS_BETWEEN_CALLS)
    try:
        yield
    except sqlite3.OperationalError:
        if not pressed:
            raise
    finally:
        connection.set_progress_handler(None, 0)
        if is_main:
            signal.signal(signal.SIGINT, before or signal.SIG_DFL)
    if pressed:
        raise KeyboardInterrupt


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log, retrying while other processes do the same."""
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
    """Turn errors of SQLite and the operating system into a ChatuiError with one sentence.

    Raises:
        ChatuiError: in place of ``OSError`` and ``sqlite3.DatabaseError``. Errors of the program,
            such as ``sqlite3.ProgrammingError``, are not changed.
        DamagedDatabaseError: the file is damaged; it is marked for the next start.
    """
    path = file or ":memory:"
    try:
        yield
    except OSError as error:
        is_full = error.errno == errno.ENOSPC
        key = "conversation.disk_full" if is_full else "conversation.unwritable"
        raise ChatuiError(say(key, path=path, reason=error)) from error
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
        raise
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        # An error message of SQLite that quotes damaged bytes cannot be decoded.
        is_text = isinstance(error, UnicodeDecodeError)
        key = "conversation.damaged" if is_text else _key_of(error, file)
        sentence = say(key, path=path, reason=one_line(str(error)))
        if key != "conversation.damaged":
            raise ChatuiError(sentence) from error
        if file is not None:
            with suppress(OSError):
                damage_mark(file).touch()
        raise DamagedDatabaseError(sentence) from error


def _key_of(error: Exception, file: Path | None) -> str:
    """Return the key of the sentence for an error of SQLite in ``file``.

    It is chosen by the message, because Python 3.10 does not expose SQLite's error codes.
    """
    message = str(error)
    if not isinstance(error, sqlite3.OperationalError) or any(
        sign in message for sign in ("malformed", "no such", "already exists")
    ):
        return "conversation.damaged"
    if "full" in message or ("disk I/O error" in message and file and _disk_is_full(file)):
        return "conversation.disk_full"
    if "locked" in message or "busy" in message:
        return "conversation.busy"
    return "conversation.unwritable"


def _disk_is_full(file: Path) -> bool:
    """True if the index of the write-ahead log does not fit; SQLite calls that an I/O error."""
    try:
        return shutil.disk_usage(file.parent).free < _LOG_INDEX_BYTES
    except OSError:
        return False
