"""The schema's history: numbered steps, each from one version of the database to the next.

A database carries its version in ``PRAGMA user_version``; a new one starts at 0 and goes through
all steps. A step, once released, is never edited: a change is a new step.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from chatui.conversation.upgrades import (
    step_001_rounds,
    step_002_search,
    step_003_prompts,
    step_004_ratings,
    step_006_shelves,
    step_007_search,
)
from chatui.errors import ChatuiError
from chatui.locales import say

STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    step_001_rounds.upgrade,
    step_002_search.upgrade,
    step_003_prompts.upgrade,
    step_004_ratings.upgrade,
    lambda _: None,  # What it indexed, version 7 indexes anew.
    step_006_shelves.upgrade,
    step_007_search.upgrade,
)
CURRENT_VERSION = len(STEPS)
_PAGES_AT_ONCE = 5_000


def version_of(connection: sqlite3.Connection) -> int:
    """The schema version of an open database."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def keep_old(
    connection: sqlite3.Connection, file: Path, beat: Callable[[], None] | None = None
) -> None:
    """Copy a database of an older version beside itself, as ``NAME.version-N``, once.

    Args:
        beat: called again and again meanwhile.

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
        with closing(sqlite3.connect(name)) as copy:
            connection.backup(copy, pages=_PAGES_AT_ONCE, progress=lambda *_: beat and beat())
        Path(name).replace(kept)
    finally:
        Path(name).unlink(missing_ok=True)


def upgrade(connection: sqlite3.Connection, to: int = CURRENT_VERSION) -> None:
    """Bring a database to version ``to``, in one transaction: wholly or not at all.

    Raises:
        ChatuiError: the database was written by a newer chatui.
        sqlite3.Error: the database cannot be written.
    """
    if version_of(connection) == to:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have upgraded it while this one waited for the lock.
        version = version_of(connection)
        if version > to:
            raise ChatuiError(say("conversation.newer_database", found=version, known=to))
        for step in STEPS[version:to]:
            step(connection)
        connection.execute(f"PRAGMA user_version = {to}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
