"""Maintain the two trigram indexes of the search: one of texts, one of pinyin initials.

Rounds that are in the indexes have ``indexed = 1``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from chatui.hanzi import initials


def has_index(db: sqlite3.Connection) -> bool:
    """True if the database has trigram indexes and this SQLite supports them."""
    try:
        db.execute("SELECT rowid FROM round_index WHERE round_index MATCH '\"abc\"' LIMIT 1")
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            raise
        return False
    return True


def index(db: sqlite3.Connection, condition: str, *values: object) -> None:
    """Index the rounds that match an SQL condition; none of them may be indexed already."""
    if has_index(db):
        _write(db, "INSERT INTO {0} (rowid, {1}) SELECT", condition, values)
        db.execute(f"UPDATE rounds SET indexed = 1 WHERE {condition} AND indexed = 0", values)


def index_some(db: sqlite3.Connection, most: int, after: int = 0) -> int:
    """Index ended rounds that are not indexed yet, newest first.

    Args:
        most: maximum number of rounds.
        after: index only rounds with a higher id.

    Returns:
        The number of rounds indexed.
    """
    if not has_index(db):
        return 0
    some = "SELECT id FROM rounds WHERE indexed = 0 AND id > ? AND state != 'streaming'"
    found = f"SELECT count(*), json_group_array(id) FROM ({some} ORDER BY id DESC LIMIT ?)"
    count, ids = db.execute(found, (after, most)).fetchone()
    index(db, "id IN (SELECT value FROM json_each(?))", ids)
    return int(count)


def unindex(db: sqlite3.Connection, condition: str, *values: object) -> None:
    """Remove the rounds that match an SQL condition from the indexes; call it before a change."""
    if has_index(db):
        # FTS5 stores no text here, and needs the indexed text to remove it.
        condition += " AND indexed = 1"
        _write(db, "INSERT INTO {0} ({0}, rowid, {1}) SELECT 'delete',", condition, values)
        db.execute(f"UPDATE rounds SET indexed = 0 WHERE {condition}", values)


def _write(db: sqlite3.Connection, insert: str, condition: str, values: Sequence[object]) -> None:
    """Run an INSERT into both indexes for the rounds that match a condition.

    All rounds are inserted by one statement per index. SQLite runs it without Python's global
    interpreter lock, so that an import can read on meanwhile.

    Args:
        insert: the beginning of the statement, a format string for the table and its columns.
    """
    # Two more characters, so that each character of the text begins a trigram.
    texts = f" id, query || char(10, 10), reply || char(10, 10) FROM rounds WHERE {condition}"
    db.execute(insert.format("round_index", "query, reply") + texts, values)
    said = "json_group_array(json_array(id, query || char(10) || reply))"
    select = f"SELECT cast({said} AS BLOB) FROM rounds WHERE {condition}"
    (data,) = db.execute(select, values).fetchone()
    rows: list[tuple[int, str]] = msgspec.json.decode(data.decode("utf-8", "replace"))
    sounds = msgspec.json.encode([(id_, initials(text)) for id_, text in rows]).decode()
    each = " json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)"
    db.execute(insert.format("sound_index", "sounds") + each, (sounds,))
