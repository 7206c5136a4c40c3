"""Version 6: conversations are pinned, archived, tagged, and deleted so that it can be undone."""

from __future__ import annotations

import sqlite3


def upgrade(connection: sqlite3.Connection) -> None:
    """From version 5 to version 6.

    ``tags`` has a line break before and behind each tag; ``deleted_at`` is in seconds since the
    epoch.
    """
    for column in (
        "pinned INTEGER NOT NULL DEFAULT 0",
        "archived INTEGER NOT NULL DEFAULT 0",
        "tags TEXT NOT NULL DEFAULT ''",
        "deleted_at REAL",
    ):
        connection.execute(f"ALTER TABLE conversations ADD COLUMN {column}")
