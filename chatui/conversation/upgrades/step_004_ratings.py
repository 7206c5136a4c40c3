"""Version 4: ratings, notes and corrections of replies."""

from __future__ import annotations

import sqlite3


def upgrade(connection: sqlite3.Connection) -> None:
    """From version 3 to version 4.

    ``corrects_id`` is no foreign key: that would look through all rounds for each that is deleted,
    and ids are never used again.
    """
    for column in ("rating INTEGER NOT NULL DEFAULT 0", "note TEXT NOT NULL DEFAULT ''",
                   "corrects_id INTEGER"):  # fmt: skip
        connection.execute(f"ALTER TABLE rounds ADD COLUMN {column}")
