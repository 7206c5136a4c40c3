"""Upgrade the database's schema in numbered steps, each to the next version.

The version is stored in ``PRAGMA user_version``. A new database starts at 0 and runs all steps of
``upgrades.sql``.
"""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

from chatui.errors import ChatuiError
from chatui.locales import say

_SQL = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
STEPS = tuple(
    each.split(";") for each in re.split(r"^-- Version \d+:.*\n(?:--.*\n)*", _SQL, flags=re.M)[1:]
)
"""The statements of each version."""

CURRENT_VERSION = len(STEPS)


def version_of(connection: sqlite3.Connection) -> int:
    """Return the schema version of an open database."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def back_up_old_version(connection: sqlite3.Connection, file: Path) -> None:
    """Copy a database of an older version to ``NAME.version-N`` beside it, unless that exists.

    Raises:
        OSError, sqlite3.Error: the copy cannot be written.
    """
    version = version_of(connection)
    kept = file.with_name(f"{file.name}.version-{version}")
    if not 0 < version < CURRENT_VERSION or kept.exists():
        return
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=kept.name)
    os.close(handle)
    try:
        connection.execute("VACUUM INTO ?", (name,))
        Path(name).replace(kept)
    finally:
        Path(name).unlink(missing_ok=True)


def upgrade(connection: sqlite3.Connection, to: int = CURRENT_VERSION) -> None:
    """Upgrade a database to version ``to``, in one transaction.

    Raises:
        ChatuiError: the database was written by a newer chatui.
        sqlite3.Error: the database cannot be written.
    """
    if version_of(connection) == to:
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        # Another process may have upgraded it while this one waited for the lock.
        version = version_of(connection)
        if version > to:
            raise ChatuiError(say("conversation.newer_database", found=version, known=to))
        for statements in STEPS[version:to]:
            _run_step(connection, statements)
        connection.execute(f"PRAGMA user_version = {to}")


def _run_step(connection: sqlite3.Connection, statements: Sequence[str]) -> None:
    """Run the statements of a step; skip the step if this SQLite lacks a module it needs.

    The trigram tokenizer needs SQLite 3.34. Without it there is no index, and a search reads all
    rounds.
    """
    connection.execute("SAVEPOINT step")
    try:
        for statement in statements:
            connection.execute(statement)
    except sqlite3.OperationalError as error:
        if not str(error).startswith(("no such module", "no such tokenizer")):
            raise
        connection.execute("ROLLBACK TO step")
    connection.execute("RELEASE step")
