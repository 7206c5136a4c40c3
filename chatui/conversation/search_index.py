"""The two trigram indexes of what was said, which the search reads: of the texts and their sounds.

A round that is in them has ``indexed = 1``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from chatui.pinyin import initials


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
    if has_index(db):
        _write(db, "INSERT INTO {0} (rowid, {1}) SELECT", condition, values)
        db.execute(f"UPDATE rounds SET indexed = 1 WHERE {condition} AND indexed = 0", values)


def index_some(db: sqlite3.Connection, most: int, after: int = 0) -> int:
    """Index rounds that have ended and are not indexed yet, the newest first.

    Args:
        most: at most so many.
        after: only those with a higher id.

    Returns:
        How many it were.
    """
    if not has_index(db):
        return 0
    some = "SELECT id FROM rounds WHERE indexed = 0 AND id > ? AND state != 'streaming'"
    found = f"SELECT count(*), json_group_array(id) FROM ({some} ORDER BY id DESC LIMIT ?)"
    count, ids = db.execute(found, (after, most)).fetchone()
    index(db, "id IN (SELECT value FROM json_each(?))", ids)
    return int(count)


def unindex(db: sqlite3.Connection, condition: str, *values: object) -> None:
    """Take the rounds that an SQL condition selects out of the indexes, before they change."""
    if has_index(db):
        # An index keeps no text of its own: it must be told what it indexed.
        condition += " AND indexed = 1"
        _write(db, "INSERT INTO {0} ({0}, rowid, {1}) SELECT 'delete',", condition, values)
        db.execute(f"UPDATE rounds SET indexed = 0 WHERE {condition}", values)


def _write(db: sqlite3.Connection, insert: str, condition: str, values: Sequence[object]) -> None:
    """Write the rounds that a condition selects into both indexes.

    Each statement is one step without Python's lock, so that reading an import goes on beside it.

    Args:
        insert: the beginning of the statement, for a table and its columns.
    """
    # Two characters more, so that each character of the text begins a trigram.
    texts = f" id, query || char(10, 10), reply || char(10, 10) FROM rounds WHERE {condition}"
    db.execute(insert.format("round_index", "query, reply") + texts, values)
    said = "json_group_array(json_array(id, query || char(10) || reply))"
    select = f"SELECT cast({said} AS BLOB) FROM rounds WHERE {condition}"
    (data,) = db.execute(select, values).fetchone()
    rows: list[tuple[int, str]] = msgspec.json.decode(data.decode("utf-8", "replace"))
    sounds = msgspec.json.encode([(id_, initials(text)) for id_, text in rows]).decode()
    each = " json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)"
    db.execute(insert.format("sound_index", "sounds") + each, (sounds,))
