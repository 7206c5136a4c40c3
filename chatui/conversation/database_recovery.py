"""Recover a damaged database: copy its readable rows into a new one and keep the old file."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from chatui.conversation.database import (
    BUSY_SECONDS,
    DamagedDatabaseError,
    ProgressHandler,
    connect_for_writing,
    damage_mark,
    interruptible,
    plain_errors,
)
from chatui.conversation.presence import Presence
from chatui.conversation.store import Store
from chatui.locales import say

AnyStore = TypeVar("AnyStore", bound=Store)

_ROWID_TABLES = ("conversations", "rounds", "prompts")
_ROWS_TRIED = 100_000
"""Row ids tried after the last readable one if the highest row id is unknown."""


def open_recovered(
    file: Path,
    notify: Callable[[str], None],
    open_store: Callable[..., AnyStore],
    on_progress: ProgressHandler | None = None,
) -> AnyStore:
    """Open a store; recover its database first if it is damaged or marked as damaged.

    Args:
        notify: called with a sentence for the user after a recovery.
        open_store: takes the file and ``on_progress``.
        on_progress: called repeatedly meanwhile.

    Raises:
        ChatuiError: the database cannot be opened or recovered.
    """
    if not damage_mark(file).exists():
        with suppress(DamagedDatabaseError):
            return open_store(file, on_progress=on_progress)
    notify(recover_database(file, on_progress))
    return open_store(file, on_progress=on_progress)


def recover_database(file: Path, on_progress: ProgressHandler | None = None) -> str:
    """Replace a damaged database with a new one that has all its readable rows.

    The old one is kept beside it as ``NAME.damaged-DATE-TIME``.

    Returns:
        A sentence for the user.

    Raises:
        ChatuiError: another chatui uses the database, or the new one cannot be written.
    """
    # Importing it here keeps the start of the app fast.
    from filelock import FileLock, Timeout

    kept = file.with_name(f"{file.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    while kept.exists():
        kept = kept.with_name(kept.name + "+")
    new = file.with_name(file.name + ".recovering")
    try:
        with plain_errors(file), FileLock(f"{new}.lock", timeout=BUSY_SECONDS):
            if Presence(file).is_anyone_alive():
                raise DamagedDatabaseError(say("conversation.damaged_in_use", path=file))
            _remove(new)
            with closing(connect_for_writing(new)) as to, interruptible(to, on_progress):
                counts = _copy(file, to)
                to.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            _exchange(file, new, kept)
            damage_mark(file).unlink(missing_ok=True)
    except Timeout as error:
        raise DamagedDatabaseError(say("conversation.damaged_in_use", path=file)) from error
    finally:
        _remove(new)
        Path(f"{new}.lock").unlink(missing_ok=True)
    conversations, rounds = counts
    words = {"conversations": conversations, "rounds": rounds, "path": kept}
    return say("conversation.recovered", **words)


def _exchange(file: Path, new: Path, kept: Path) -> None:
    """Keep the old database as ``kept`` and move the new one to its path, without a gap."""
    try:
        os.link(file, kept)
    except OSError:
        shutil.copy2(file, kept)
    # SQLite must not apply the old write-ahead log to the new database.
    for end in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            Path(f"{file}{end}").replace(f"{kept}{end}")
    new.replace(file)


def _remove(database: Path) -> None:
    for end in ("", "-wal", "-shm"):
        Path(f"{database}{end}").unlink(missing_ok=True)


def _copy(file: Path, to: sqlite3.Connection) -> tuple[int, int]:
    """Copy all readable rows; return the numbers of conversations and rounds copied."""
    to.execute("PRAGMA foreign_keys = OFF")
    to.execute("BEGIN")
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as old:
        # Text may be damaged, and so may entries of the schema that are not needed here.
        old.text_factory = lambda data: data.decode("utf-8", "replace")
        with suppress(sqlite3.Error):
            old.execute("PRAGMA writable_schema = ON")
        for table in _ROWID_TABLES:
            _copy_rows(old, to, table)
        for (id,) in to.execute("SELECT id FROM rounds").fetchall():
            with suppress(sqlite3.Error):
                where = "SELECT round_id, batch, data FROM pieces WHERE round_id = ? ORDER BY batch"
                for row in old.execute(where, (id,)):
                    to.execute("INSERT INTO pieces VALUES (?, ?, ?)", row)
    _repair_references(to)
    (conversations,) = to.execute("SELECT count(*) FROM conversations").fetchone()
    (rounds,) = to.execute("SELECT count(*) FROM rounds").fetchone()
    to.execute("COMMIT")
    return conversations, rounds


def _copy_rows(old: sqlite3.Connection, to: sqlite3.Connection, table: str) -> None:
    """Copy the columns that both have; the old database may have an older schema."""
    columns: list[str] = []
    with suppress(sqlite3.Error):
        one, other = (
            {row[1] for row in db.execute(f"PRAGMA table_info({table})")} for db in (old, to)
        )
        columns = sorted(one & other)
    if not columns:
        return
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    for row in _readable_rows(old, table, names):
        # A damaged row may violate a constraint.
        with suppress(sqlite3.Error):
            to.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", row)


def _readable_rows(old: sqlite3.Connection, table: str, names: str) -> Iterator[tuple[object, ...]]:
    """Yield the readable rows.

    A range of row ids that cannot be read is halved until one row is left, which is skipped.
    """
    ranges = [(1, 2**63 - 1)]
    while ranges:
        first, last = ranges.pop()
        try:
            found = old.execute(
                f"SELECT rowid, {names} FROM {table} WHERE rowid BETWEEN ? AND ? ORDER BY rowid",
                (first, last),
            )
            for id, *row in found:
                first = id + 1
                yield tuple(row)
        except sqlite3.Error:
            last = min(last, _last_rowid(old, table, first))
            if first < last:
                middle = (first + last) // 2
                ranges += [(middle + 1, last), (first, middle)]


def _last_rowid(old: sqlite3.Connection, table: str, first: int) -> int:
    """Return the highest row id, or an estimate if it cannot be read."""
    for query in (
        f"SELECT max(rowid) FROM {table}",
        f"SELECT seq FROM sqlite_sequence WHERE name = '{table}'",
    ):
        with suppress(sqlite3.Error):
            (end,) = old.execute(query).fetchone() or (None,)
            if isinstance(end, int):
                return end
    return first + _ROWS_TRIED


def _repair_references(to: sqlite3.Connection) -> None:
    """Repair or remove references to rows that were lost."""
    for statement in (
        "DELETE FROM prompts WHERE round_id NOT IN (SELECT id FROM rounds)",
        # SQLite takes the bare columns from the row that has the min().
        "INSERT INTO conversations (id, title, created_at, updated_at)"
        " SELECT conversation_id, substr(query, 1, 30), min(started_at), started_at FROM rounds"
        " WHERE conversation_id NOT IN (SELECT id FROM conversations) GROUP BY conversation_id",
        "UPDATE rounds SET parent_id = NULL"
        " WHERE parent_id NOT IN (SELECT id FROM rounds) OR parent_id >= id",
        "UPDATE conversations SET head_id ="
        " (SELECT max(id) FROM rounds WHERE conversation_id = conversations.id)"
        " WHERE head_id IS NULL OR head_id NOT IN (SELECT id FROM rounds)",
        "UPDATE rounds SET indexed = 0",
    ):
        to.execute(statement)
    depths: dict[int | None, int] = {None: 0}
    for id, parent_id in to.execute("SELECT id, parent_id FROM rounds ORDER BY id"):
        depths[id] = depths[parent_id] + 1
    del depths[None]
    to.executemany("UPDATE rounds SET depth = ?2 WHERE id = ?1", depths.items())
