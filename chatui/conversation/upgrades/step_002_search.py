"""Version 2: ``indexed`` is 1 for the rounds that are in the search's indexes."""

from __future__ import annotations

import sqlite3


def upgrade(connection: sqlite3.Connection) -> None:
    """From version 1 to version 2."""
    connection.execute("ALTER TABLE rounds ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0")
    connection.execute("CREATE INDEX rounds_unindexed ON rounds (id) WHERE indexed = 0")
