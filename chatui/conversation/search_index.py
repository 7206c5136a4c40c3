"""The two trigram indexes of what was said, which the search reads: of the texts and their sounds.

A round that is in them has ``indexed = 1``.
"""

from __future__ import annotations

import sqlite3

_INDEXED = {
    # Two characters more, so that each character of the text begins a trigram.
    "round_index": ("query, reply", "query || char(10, 10), reply || char(10, 10)"),
    "sound_index": ("sounds", "initials(query || char(10) || reply)"),
}
"""Index -> its columns, and what they hold of a round."""


def has_index(db: sqlite3.Connection) -> bool:
    """Whether there are trigram indexes that this SQLite can use."""
    try:
        db.execute("SELECT rowid FROM round_index WHERE round_index MATCH '\"abc\"' LIMIT 1")
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            raise
        return False
    return True


def index(db: sqlite3.Connection, condition: str, *values: object) -> None:
    """Index the rounds that an SQL condition selects, none of which is in the indexes yet."""
    if not has_index(db):
        return
    for name, (columns, texts) in _INDEXED.items():
        db.execute(
            f"INSERT INTO {name} (rowid, {columns})"
            f" SELECT id, {texts} FROM rounds WHERE {condition}",
            values,
        )
    db.execute(f"UPDATE rounds SET indexed = 1 WHERE {condition} AND indexed = 0", values)


def unindex(db: sqlite3.Connection, condition: str, *values: object) -> None:
    """Take the rounds that an SQL condition selects out of the indexes, before they change."""
    if not has_index(db):
        return
    # An index keeps no text of its own: it must be told what it indexed.
    for name, (columns, texts) in _INDEXED.items():
        db.execute(
            f"INSERT INTO {name} ({name}, rowid, {columns})"
            f" SELECT 'delete', id, {texts} FROM rounds WHERE {condition} AND indexed = 1",
            values,
        )
    db.execute(f"UPDATE rounds SET indexed = 0 WHERE {condition} AND indexed = 1", values)
