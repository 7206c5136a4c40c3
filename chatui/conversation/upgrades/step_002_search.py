"""Version 2: an index of three-character sequences, for substring search in any script.

The trigram tokenizer came with SQLite 3.34; with an older library there is no index, and the
search reads the rounds themselves. Rounds that are not in the index carry ``indexed = 0``.
"""

from __future__ import annotations

import sqlite3


def upgrade(connection: sqlite3.Connection) -> None:
    """From version 1 to version 2."""
    connection.execute("ALTER TABLE rounds ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0")
    connection.execute("CREATE INDEX rounds_unindexed ON rounds (id) WHERE indexed = 0")
    connection.execute("SAVEPOINT search_index")
    try:
        connection.execute(
            "CREATE VIRTUAL TABLE round_index USING fts5"
            " (query, reply, content='rounds', content_rowid='id', tokenize='trigram')"
        )
        connection.execute(
            "INSERT INTO round_index (rowid, query, reply)"
            " SELECT id, query, reply FROM rounds WHERE state != 'streaming'"
        )
        connection.execute("UPDATE rounds SET indexed = 1 WHERE state != 'streaming'")
    except sqlite3.OperationalError as error:
        if not str(error).startswith(("no such module", "no such tokenizer")):
            raise
        connection.execute("ROLLBACK TO search_index")
    connection.execute("RELEASE search_index")
