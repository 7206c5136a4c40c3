"""Writing rounds, within an open transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from chatui.conversation import reading, search
from chatui.conversation.rounds import Round
from chatui.conversation.storable import to_stored
from chatui.errors import ChatuiError
from chatui.locales import say


def insert_round(
    db: sqlite3.Connection,
    conversation_id: int,
    parent_id: int | None,
    writer: str,
    values: Mapping[str, object],
) -> int:
    """Put a streaming round after its parent, and give its id.

    Args:
        writer: the presence of the process that streams it.
        values: the other columns, in stored form.

    Raises:
        ChatuiError: there is no such parent in this conversation.
    """
    depth = 1
    if parent_id is not None:
        parent = db.execute(
            "SELECT conversation_id, depth FROM rounds WHERE id = ?", (parent_id,)
        ).fetchone()
        if parent is None:
            raise ChatuiError(say("conversation.no_round", id=parent_id))
        if parent[0] != conversation_id:
            raise ChatuiError(say("conversation.foreign_round", id=parent_id))
        depth = parent[1] + 1
    row: dict[str, Any] = {
        "conversation_id": conversation_id,
        "parent_id": parent_id,
        "depth": depth,
        "state": "streaming",
        "writer": writer,
        **values,
    }
    names, marks = ", ".join(row), ", ".join("?" * len(row))
    id_ = db.execute(
        f"INSERT INTO rounds ({names}) VALUES ({marks})", tuple(row.values())
    ).lastrowid
    assert id_ is not None
    return id_


def append_batch(db: sqlite3.Connection, round_id: int, data: str) -> None:
    """Add a batch of pieces to a round.

    Raises:
        ChatuiError: there is no such round.
    """
    try:
        db.execute(
            "INSERT INTO pieces (round_id, batch, data) SELECT ?1,"
            " (SELECT coalesce(max(batch), 0) + 1 FROM pieces WHERE round_id = ?1), ?2",
            (round_id, data),
        )
    except sqlite3.IntegrityError as error:
        raise ChatuiError(say("conversation.no_round", id=round_id)) from error


def end_round(
    db: sqlite3.Connection, round_id: int, has_index: bool, values: Mapping[str, object]
) -> None:
    """Set the last columns of a round, and index it."""
    if has_index:
        search.unindex_round(db, round_id)
    columns = ", ".join(f"{name} = ?" for name in values)
    db.execute(f"UPDATE rounds SET {columns} WHERE id = ?", (*values.values(), round_id))
    if has_index:
        search.index_round(db, round_id)


def interrupt(db: sqlite3.Connection, writer: str, has_index: bool) -> list[Round]:
    """End the streaming rounds of one writer with what was saved of them."""
    ended = []
    for this in reading.rounds_where(db, "state = 'streaming' AND writer = ?", writer):
        pieces = reading.pieces(db, this.id)
        values = {
            "state": "interrupted",
            "reply": to_stored(this.reply),
            "output_tokens": len(pieces),
            "seconds": pieces[-1].at_seconds if pieces else 0.0,
        }
        end_round(db, this.id, has_index, values)
        ended.append(reading.one_round(db, this.id))
    return ended


def delete_conversation(db: sqlite3.Connection, conversation_id: int, has_index: bool) -> None:
    """Delete a conversation with all its rounds and pieces."""
    if has_index:
        search.unindex_conversation(db, conversation_id)
    for statement in (
        "UPDATE conversations SET head_id = NULL WHERE id = ?",
        "DELETE FROM pieces WHERE round_id IN (SELECT id FROM rounds WHERE conversation_id = ?)",
        # In one statement: the rounds refer to each other.
        "DELETE FROM rounds WHERE conversation_id = ?",
        "DELETE FROM conversations WHERE id = ?",
    ):
        db.execute(statement, (conversation_id,))
