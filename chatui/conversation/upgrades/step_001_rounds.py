"""Version 1: conversations, rounds, and the pieces of their replies."""

from __future__ import annotations

import sqlite3

# Short columns stand before the long texts, so that a listing need not read the texts' pages.
# A seed may need 64 unsigned bits, more than an SQLite integer has, so it is text.
_STATEMENTS = (
    """
    CREATE TABLE conversations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        title TEXT NOT NULL,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        head_id INTEGER REFERENCES rounds (id)
    )
    """,
    "CREATE INDEX conversations_by_time ON conversations (updated_at)",
    """
    CREATE TABLE rounds (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        conversation_id INTEGER NOT NULL REFERENCES conversations (id),
        parent_id INTEGER REFERENCES rounds (id),
        depth INTEGER NOT NULL,
        state TEXT NOT NULL,
        writer TEXT NOT NULL,
        model TEXT NOT NULL,
        format TEXT NOT NULL,
        finish_reason TEXT,
        seed TEXT,
        sampling TEXT NOT NULL,
        prompt_tokens INTEGER NOT NULL DEFAULT 0,
        reused_tokens INTEGER NOT NULL DEFAULT 0,
        output_tokens INTEGER NOT NULL DEFAULT 0,
        started_at REAL NOT NULL,
        seconds REAL NOT NULL DEFAULT 0,
        error TEXT,
        query TEXT NOT NULL,
        reply TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX rounds_by_conversation ON rounds (conversation_id)",
    "CREATE INDEX rounds_by_parent ON rounds (parent_id)",
    "CREATE INDEX rounds_streaming ON rounds (writer) WHERE state = 'streaming'",
    """
    CREATE TABLE pieces (
        round_id INTEGER NOT NULL REFERENCES rounds (id),
        batch INTEGER NOT NULL,
        data TEXT NOT NULL,
        PRIMARY KEY (round_id, batch)
    ) WITHOUT ROWID
    """,
)


def upgrade(connection: sqlite3.Connection) -> None:
    """From an empty database to version 1."""
    for statement in _STATEMENTS:
        connection.execute(statement)
