"""Reading rounds and conversations, within an open transaction."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

from chatui.conversation.rounds import Conversation, Piece, Round
from chatui.conversation.rows import ROUND_COLUMNS, conversation_of, pieces_from_stored, round_of
from chatui.errors import ChatuiError
from chatui.locales import say

_CONVERSATIONS = (
    "SELECT c.id, c.title, c.created_at, c.updated_at, coalesce(h.depth, 0), c.head_id"
    " FROM conversations c LEFT JOIN rounds h ON h.id = c.head_id"
)


def conversation(db: sqlite3.Connection, id_: int) -> Conversation:
    """One conversation.

    Raises:
        ChatuiError: there is none.
    """
    row = db.execute(f"{_CONVERSATIONS} WHERE c.id = ?", (id_,)).fetchone()
    if row is None:
        raise ChatuiError(say("conversation.no_conversation", id=id_))
    return conversation_of(row)


def conversations(db: sqlite3.Connection, limit: int) -> list[Conversation]:
    """Those with at least one round, the last used first; -1 for all."""
    rows = db.execute(
        f"{_CONVERSATIONS} WHERE c.head_id IS NOT NULL"
        " ORDER BY c.updated_at DESC, c.id DESC LIMIT ?",
        (limit,),
    )
    return [conversation_of(row) for row in rows]


def one_round(db: sqlite3.Connection, id_: int) -> Round:
    """One round.

    Raises:
        ChatuiError: there is none.
    """
    found = rounds_where(db, "id = ?", id_)
    if not found:
        raise ChatuiError(say("conversation.no_round", id=id_))
    return found[0]


def rounds_where(db: sqlite3.Connection, condition: str, *values: object) -> list[Round]:
    """The rounds that an SQL condition selects, the oldest first."""
    rows = db.execute(
        f"SELECT {ROUND_COLUMNS} FROM rounds WHERE {condition} ORDER BY id", values
    ).fetchall()
    return [_as_round(db, row) for row in rows]


def path(db: sqlite3.Connection, conversation_id: int, head_id: int | None) -> list[Round]:
    """The rounds of a conversation from the first to ``head_id``."""
    rows = db.execute(
        "WITH RECURSIVE path (path_id, up) AS ("
        " SELECT id, parent_id FROM rounds WHERE id = ? AND conversation_id = ?"
        " UNION ALL SELECT r.id, r.parent_id FROM rounds r JOIN path ON r.id = path.up)"
        f" SELECT {ROUND_COLUMNS} FROM path JOIN rounds ON id = path_id ORDER BY depth",
        (head_id, conversation_id),
    ).fetchall()
    return [_as_round(db, row) for row in rows]


def leaf(db: sqlite3.Connection, round_id: int) -> int:
    """The end of the path that goes on from a round, along the newest version each time.

    Raises:
        ChatuiError: there is no such round.
    """
    one_round(db, round_id)
    while True:
        newest = db.execute("SELECT max(id) FROM rounds WHERE parent_id = ?", (round_id,))
        (next_id,) = newest.fetchone()
        if next_id is None:
            return round_id
        round_id = next_id


def pieces(db: sqlite3.Connection, round_id: int) -> list[Piece]:
    """The pieces of one round, in the order they came."""
    batches = db.execute(
        "SELECT data FROM pieces WHERE round_id = ? ORDER BY batch", (round_id,)
    ).fetchall()
    return [piece for (data,) in batches for piece in pieces_from_stored(data)]


def _as_round(db: sqlite3.Connection, row: Any) -> Round:
    """A row as a round; a streaming round's reply is what its pieces say so far."""
    this = round_of(row)
    if this.state != "streaming":
        return this
    return replace(this, reply="".join(piece.text for piece in pieces(db, this.id)))
