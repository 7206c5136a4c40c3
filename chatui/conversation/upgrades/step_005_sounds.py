"""Version 5: the search finds one and two characters, and hanzi by their sound, in indexes too.

The texts are indexed anew, each with two characters behind it, so that every character of a text
begins a trigram. The function ``initials`` is :func:`chatui.pinyin.initials`.
"""

from __future__ import annotations

import sqlite3


def upgrade(connection: sqlite3.Connection) -> None:
    """From version 4 to version 5."""
    found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'round_index'")
    if found.fetchone() is None:
        return
    for statement in (
        "DROP TABLE round_index",
        "CREATE VIRTUAL TABLE round_index USING fts5"
        " (query, reply, content='rounds', content_rowid='id', tokenize='trigram')",
        "CREATE VIRTUAL TABLE sound_index USING fts5"
        " (sounds, content='', detail=none, tokenize='trigram')",
        "CREATE VIRTUAL TABLE round_terms USING fts5vocab (round_index, instance)",
        "CREATE VIRTUAL TABLE sound_terms USING fts5vocab (sound_index, instance)",
        "INSERT INTO round_index (rowid, query, reply)"
        " SELECT id, query || char(10, 10), reply || char(10, 10) FROM rounds WHERE indexed = 1",
        "INSERT INTO sound_index (rowid, sounds)"
        " SELECT id, initials(query || char(10) || reply) FROM rounds WHERE indexed = 1",
    ):
        connection.execute(statement)
