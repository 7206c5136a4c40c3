"""Read and write rows of the database as values, within an open transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import count
from typing import Any

from chatui.conversation import search_index, stored_values
from chatui.conversation.rounds import (
    Conversation,
    Piece,
    Rating,
    RenderedPrompt,
    Round,
    Transcript,
    conversation_title,
)
from chatui.errors import ChatuiError
from chatui.locales import say

_COLUMNS = (*stored_values.ROUND_KEYS, *stored_values.ROUND_COLUMNS)
_INSERT_ROUND = (
    f"INSERT INTO rounds ({', '.join(_COLUMNS)}, depth, writer, indexed)"
    f" VALUES ({', '.join('?' * (len(_COLUMNS) + 3))})"
)
_INDEXED_AT_ONCE = 500
"""Rounds of an import indexed by one statement."""
_COUNT_VERSIONS = (
    "(SELECT count(*) FROM rounds v INDEXED BY rounds_by_parent WHERE v.parent_id IS r.parent_id"
    " AND v.conversation_id = r.conversation_id{})"
)
_SELECT_ROUNDS = (
    f"SELECT {', '.join('r.' + name for name in _COLUMNS)},"
    f" {_COUNT_VERSIONS.format(' AND v.id <= r.id')}, {_COUNT_VERSIONS.format('')}"
)


def rounds_where(db: sqlite3.Connection, condition: str, *values: object) -> list[Round]:
    """Return the rounds ``r`` that match an SQL condition, oldest first."""
    rows = db.execute(f"{_SELECT_ROUNDS} FROM rounds r WHERE {condition} ORDER BY r.id", values)
    return [_as_round(db, row) for row in rows.fetchall()]


def all_rounds(db: sqlite3.Connection, conversation_id: int) -> tuple[Round, ...]:
    """Return all rounds of a conversation, parents before children."""
    found = rounds_where(db, "r.conversation_id = ?", conversation_id)
    known = {None, *(each.id for each in found)}
    return tuple(
        each if each.parent_id in known else replace(each, parent_id=None, damaged=("parent_id",))
        for each in found
    )


def get_round(db: sqlite3.Connection, id_: int) -> Round:
    """Return a round.

    Raises:
        ChatuiError: there is no such round.
    """
    found = rounds_where(db, "r.id = ?", id_)
    if not found:
        raise ChatuiError(say("conversation.no_round", id=id_))
    return found[0]


def rounds_to(db: sqlite3.Connection, conversation_id: int, head_id: int | None) -> list[Round]:
    """Return the rounds of a conversation from the first to ``head_id``."""
    rows = db.execute(
        "WITH RECURSIVE path (path_id, up) AS ("
        " SELECT id, parent_id FROM rounds WHERE id = ? AND conversation_id = ?"
        # Unlike UNION ALL, UNION ends on a cycle of parents in a damaged database.
        " UNION SELECT r.id, r.parent_id FROM rounds r JOIN path ON r.id = path.up)"
        # Ids of parents are lower.
        f" {_SELECT_ROUNDS} FROM path JOIN rounds r ON r.id = path_id ORDER BY r.id",
        (head_id, conversation_id),
    )
    return [_as_round(db, row) for row in rows.fetchall()]


def _as_round(db: sqlite3.Connection, row: tuple[Any, ...]) -> Round:
    """Convert a row to a round; the reply of a streaming round is joined from its pieces."""
    found = stored_values.decode_round(row)
    if found.state != "streaming":
        return found
    return replace(found, reply="".join(piece.text for piece in pieces(db, found.id)))


def insert_round(db: sqlite3.Connection, begun: Round, writer: str) -> int:
    """Insert a round after its parent and return its new id; ``begun.id`` is ignored.

    Args:
        writer: the announced name of the process that streams it; see :class:`.Presence`.

    Raises:
        ChatuiError: there is no such parent in this conversation.
    """
    parent_id = begun.parent_id
    if parent_id and get_round(db, parent_id).conversation_id != begun.conversation_id:
        raise ChatuiError(say("conversation.foreign_round", id=parent_id))
    parent = db.execute("SELECT cast(depth AS INTEGER) FROM rounds WHERE id = ?", (parent_id,))
    (depth,) = parent.fetchone() or (0,)
    keys = (None, begun.conversation_id, parent_id, begun.corrects_id)
    values = (*keys, *stored_values.encode_round(begun), depth + 1, writer, False)
    id_ = db.execute(_INSERT_ROUND, values).lastrowid
    assert id_ is not None
    return id_


def insert_conversations(db: sqlite3.Connection, added: Iterable[Transcript]) -> tuple[int, ...]:
    """Add conversations of ended rounds, parents first, in one transaction.

    Returns:
        Their new ids.
    """
    last_round = _last_id(db, "rounds")
    new_ids, new_round_ids = count(_last_id(db, "conversations") + 1), count(last_round + 1)
    rows: list[tuple[Any, ...]] = []
    round_rows: list[tuple[Any, ...]] = []
    heads: list[tuple[int | None, int]] = []
    pieces: list[tuple[dict[int | None, int], Mapping[int, Iterable[Piece]]]] = []
    for whole, id_ in zip(added, new_ids, strict=False):
        conversation, rounds = whole.conversation, whole.rounds
        ids: dict[int | None, int] = {
            each.id: new for each, new in zip(rounds, new_round_ids, strict=False)
        }
        depths: dict[int | None, int] = {None: 0}
        for each in rounds:
            depths[each.id] = depth = depths[each.parent_id] + 1
            keys = (ids[each.id], id_, ids.get(each.parent_id), ids.get(each.corrects_id))
            round_rows.append((*keys, *stored_values.encode_round(each), depth, "", False))
        pieces.append((ids, whole.pieces))
        title = conversation_title(conversation.title, rounds[0].query if rounds else "")
        times = (conversation.created_at, conversation.updated_at)
        tags = stored_values.encode_tags(conversation.tags)
        flags = (conversation.pinned, conversation.archived, tags)
        rows.append((id_, stored_values.encode_text(title), *times, *flags))
        heads.append((ids.get(conversation.head_id), id_))
    insert = (
        "INSERT INTO conversations (id, title, created_at, updated_at, pinned, archived, tags)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)"
    )
    db.executemany(insert, rows)
    db.executemany(_INSERT_ROUND, round_rows)
    db.executemany("UPDATE conversations SET head_id = ? WHERE id = ?", heads)
    for ids, by_round in pieces:
        for old_id, batch in by_round.items():
            append_pieces(db, ids[old_id], batch)
    while search_index.index_some(db, _INDEXED_AT_ONCE, after=last_round):
        pass
    return tuple(row[0] for row in rows)


def _last_id(db: sqlite3.Connection, table: str) -> int:
    """Return the highest id ever used in a table; 0 if it never had a row."""
    found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return found[0] if found else 0


def update_round(db: sqlite3.Connection, ended: Round) -> None:
    """Save a round that has ended, except its rating and note, and index its texts.

    Raises:
        ChatuiError: there is no such round.
    """
    search_index.unindex(db, "id = ?", ended.id)
    row = dict(zip(stored_values.ROUND_COLUMNS, stored_values.encode_round(ended), strict=True))
    del row["rating"], row["note"]
    columns = ", ".join(f"{name} = ?" for name in row)
    _change(db, ended.id, f"UPDATE rounds SET {columns} WHERE id = ?", *row.values(), ended.id)
    search_index.index(db, "id = ?", ended.id)


def rate(
    db: sqlite3.Connection, round_id: int, rating: Rating | None = None, note: str | None = None
) -> Round:
    """Set the rating or note of a round and return the round; None leaves a value unchanged.

    Raises:
        ChatuiError: there is no such round.
    """
    stored = None if note is None else stored_values.encode_text(note)
    update = "UPDATE rounds SET rating = coalesce(?, rating), note = coalesce(?, note) WHERE id = ?"
    _change(db, round_id, update, rating, stored, round_id)
    return get_round(db, round_id)


def _change(db: sqlite3.Connection, round_id: int, statement: str, *values: object) -> None:
    """Run a statement that must change a row of a round."""
    try:
        changed = db.execute(statement, values).rowcount
    except sqlite3.IntegrityError:
        changed = 0
    if not changed:
        raise ChatuiError(say("conversation.no_round", id=round_id))


def append_pieces(db: sqlite3.Connection, round_id: int, batch: Iterable[Piece]) -> None:
    """Save the next pieces of a reply as one batch.

    Raises:
        ChatuiError: there is no such round.
    """
    if data := stored_values.encode_pieces(batch):
        insert = (
            "INSERT INTO pieces (round_id, batch, data) SELECT ?1,"
            " (SELECT coalesce(max(batch), 0) + 1 FROM pieces WHERE round_id = ?1), ?2"
        )
        _change(db, round_id, insert, round_id, data)


def pieces(db: sqlite3.Connection, round_id: int) -> tuple[Piece, ...]:
    """Return the pieces of a round in order."""
    batches = db.execute("SELECT data FROM pieces WHERE round_id = ? ORDER BY batch", (round_id,))
    return tuple(piece for (data,) in batches for piece in stored_values.decode_pieces(data))


def save_prompt(db: sqlite3.Connection, round_id: int, prompt: RenderedPrompt) -> None:
    """Save or replace the prompt of a round.

    Raises:
        ChatuiError: there is no such round.
    """
    insert = "INSERT OR REPLACE INTO prompts VALUES (?, ?)"
    _change(db, round_id, insert, round_id, stored_values.encode_prompt(prompt))


def prompt(db: sqlite3.Connection, round_id: int) -> RenderedPrompt | None:
    """Return the prompt of a round; None if none was saved, or it is damaged."""
    row = db.execute("SELECT data FROM prompts WHERE round_id = ?", (round_id,)).fetchone()
    return stored_values.decode_prompt(row[0]) if row else None


def conversations_where(
    db: sqlite3.Connection,
    condition: str,
    *values: object,
    limit: int = -1,
    order: str = "c.updated_at DESC, c.id DESC",
) -> list[Conversation]:
    """Return the conversations ``c`` that match an SQL condition; a ``limit`` of -1 means all."""
    rows = db.execute(
        "SELECT c.id, c.title, c.created_at, c.updated_at, coalesce(h.depth, 0),"
        # In a damaged database the head may be missing.
        " coalesce(h.id, (SELECT max(id) FROM rounds WHERE conversation_id = c.id)),"
        " c.id IN (SELECT conversation_id FROM rounds WHERE state = 'streaming'),"
        " coalesce(h.model, ''), c.pinned, c.archived, c.tags"
        " FROM conversations c LEFT JOIN rounds h"
        " ON h.id = c.head_id AND h.conversation_id = c.id"
        f" WHERE {condition} ORDER BY {order} LIMIT ?",
        (*values, limit),
    )
    return [stored_values.decode_conversation(row) for row in rows.fetchall()]


def insert_conversation(db: sqlite3.Connection, title: str, created_at: float) -> int:
    """Insert a conversation without rounds and return its id."""
    insert = "INSERT INTO conversations (title, created_at, updated_at) VALUES (?, ?, ?)"
    id_ = db.execute(insert, (stored_values.encode_text(title), created_at, created_at)).lastrowid
    assert id_ is not None
    return id_


def get_conversation(db: sqlite3.Connection, id_: int) -> Conversation:
    """Return a conversation.

    Raises:
        ChatuiError: there is no such conversation, or it was deleted.
    """
    found = conversations_where(db, "c.id = ? AND c.deleted_at IS NULL", id_)
    if not found:
        is_there = db.execute("SELECT 1 FROM conversations WHERE id = ?", (id_,)).fetchone()
        key = "history.deleted" if is_there else "conversation.no_conversation"
        raise ChatuiError(say(key, id=id_))
    return found[0]


def delete_conversation(db: sqlite3.Connection, conversation_id: int) -> None:
    """Delete a conversation permanently, with all its rounds, their pieces and prompts."""
    search_index.unindex(db, "conversation_id = ?", conversation_id)
    for statement in (
        "UPDATE conversations SET head_id = NULL WHERE id = ?",
        "DELETE FROM prompts WHERE round_id IN (SELECT id FROM rounds WHERE conversation_id = ?)",
        "DELETE FROM pieces WHERE round_id IN (SELECT id FROM rounds WHERE conversation_id = ?)",
        # One statement, because the rounds refer to each other.
        "DELETE FROM rounds WHERE conversation_id = ?",
        "DELETE FROM conversations WHERE id = ?",
    ):
        db.execute(statement, (conversation_id,))
