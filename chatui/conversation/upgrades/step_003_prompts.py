"""Version 3: what the model read for each round."""

from __future__ import annotations

import sqlite3


def upgrade(connection: sqlite3.Connection) -> None:
    """From version 2 to version 3; ``data`` is JSON, compressed by zlib."""
    connection.execute(
        """
        CREATE TABLE prompts (
            round_id INTEGER PRIMARY KEY REFERENCES rounds (id),
            data BLOB NOT NULL
        )
        """
    )
