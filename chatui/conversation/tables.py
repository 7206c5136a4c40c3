"""Rows of the database as values and back, within an open transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import count
from operator import attrgetter
from typing import Any

from chatui.conversation import search_index
from chatui.conversation.rounds import (
    Conversation,
    FullConversation,
    Piece,
    Rating,
    RenderedPrompt,
    Round,
    conversation_title,
)
from chatui.conversation.stored_values import (
    FORMS,
    decode_conversation,
    decode_pieces,
    decode_prompt,
    decode_round,
    encode_pieces,
    encode_prompt,
    encode_tags,
    encode_text,
)
from chatui.errors import ChatuiError
from chatui.locales import say

_PLACES = ("id", "conversation_id", "parent_id", "corrects_id")
_NOT_SAID = (*_PLACES, "version", "versions", "damaged")
_SAID = [each.name for each in fields(Round) if each.name not in _NOT_SAID]
_COLUMNS = [*_PLACES, *_SAID]
_TO_FORM = [(_SAID.index(name), form) for name, (form, _) in FORMS.items()]
_said = attrgetter(*_SAID)
_INSERT = (
    f"INSERT INTO rounds ({', '.join(_COLUMNS)}, depth, writer, indexed)"
    f" VALUES ({', '.join('?' * (len(_COLUMNS) + 3))})"
)
_VERSIONS = (
    "(SELECT count(*) FROM rounds v INDEXED BY rounds_by_parent WHERE v.parent_id IS r.parent_id"
    " AND v.conversation_id = r.conversation_id{})"
)
_ROUNDS = (
    f"SELECT {', '.join('r.' + name for name in _COLUMNS)},"
    f" {_VERSIONS.format(' AND v.id <= r.id')}, {_VERSIONS.format('')}"
)


# Rounds


def rounds_where(db: sqlite3.Connection, condition: str, *values: object) -> list[Round]:
    """The rounds ``r`` that an SQL condition selects, the oldest first."""
    rows = db.execute(f"{_ROUNDS} FROM rounds r WHERE {condition} ORDER BY r.id", values)
    return [_as_round(db, row) for row in rows.fetchall()]


def all_rounds(db: sqlite3.Connection, conversation_id: int) -> tuple[Round, ...]:
    """All versions of all rounds of a conversation, a parent before its children."""
    found = rounds_where(db, "r.conversation_id = ?", conversation_id)
    known = {None, *(each.id for each in found)}
    return tuple(
        each if each.parent_id in known else replace(each, parent_id=None, damaged=("parent_id",))
        for each in found
    )


def get_round(db: sqlite3.Connection, id_: int) -> Round:
    """One round.

    Raises:
        ChatuiError: there is none.
    """
    found = rounds_where(db, "r.id = ?", id_)
    if not found:
        raise ChatuiError(say("conversation.no_round", id=id_))
    return found[0]


def rounds_to(db: sqlite3.Connection, conversation_id: int, head_id: int | None) -> list[Round]:
    """The rounds of a conversation from the first to ``head_id``."""
    rows = db.execute(
        "WITH RECURSIVE path (path_id, up) AS ("
        " SELECT id, parent_id FROM rounds WHERE id = ? AND conversation_id = ?"
        # Not UNION ALL: in a damaged database parents may go in a circle.
        " UNION SELECT r.id, r.parent_id FROM rounds r JOIN path ON r.id = path.up)"
        # A parent's id is lower.
        f" {_ROUNDS} FROM path JOIN rounds r ON r.id = path_id ORDER BY r.id",
        (head_id, conversation_id),
    )
    return [_as_round(db, row) for row in rows.fetchall()]


def _as_round(db: sqlite3.Connection, row: tuple[Any, ...]) -> Round:
    """A row as a round; a streaming round's reply is what its saved pieces say."""
    found = decode_round(dict(zip((*_COLUMNS, "version", "versions"), row, strict=True)))
    if found.state != "streaming":
        return found
    return replace(found, reply="".join(piece.text for piece in pieces(db, found.id)))


def insert_round(db: sqlite3.Connection, begun: Round, writer: str) -> int:
    """Insert a round after its parent and return its id; ``begun.id`` does not count.

    Args:
        writer: the presence of the process that streams it.

    Raises:
        ChatuiError: there is no such parent in this conversation.
    """
    parent_id = begun.parent_id
    if parent_id and get_round(db, parent_id).conversation_id != begun.conversation_id:
        raise ChatuiError(say("conversation.foreign_round", id=parent_id))
    above = db.execute("SELECT cast(depth AS INTEGER) FROM rounds WHERE id = ?", (parent_id,))
    (depth,) = above.fetchone() or (0,)
    places = (None, begun.conversation_id, parent_id, begun.corrects_id)
    id_ = db.execute(_INSERT, (*places, *_stored(begun), depth + 1, writer, False)).lastrowid
    assert id_ is not None
    return id_


def insert_conversations(
    db: sqlite3.Connection, wholes: Iterable[FullConversation]
) -> tuple[int, ...]:
    """Insert conversations with their ended rounds and pieces; the texts are not indexed.

    Returns:
        The new ids of the conversations.
    """
    new_ids, new_round_ids = (count(last_id(db, name) + 1) for name in ("conversations", "rounds"))
    abouts: list[tuple[Any, ...]] = []
    heads: list[tuple[int | None, int]] = []
    rows: list[tuple[Any, ...]] = []
    said: list[tuple[dict[int | None, int], Mapping[int, Sequence[Piece]]]] = []
    for about, rounds, pieces in wholes:
        id_ = next(new_ids)
        ids: dict[int | None, int] = {}
        depths: dict[int | None, int] = {None: 0}
        for each in rounds:
            ids[each.id] = round_id = next(new_round_ids)
            depths[each.id] = depth = depths[each.parent_id] + 1
            places = (round_id, id_, ids.get(each.parent_id), ids.get(each.corrects_id))
            rows.append((*places, *_stored(each), depth, "", False))
        said.append((ids, pieces))
        title = encode_text(conversation_title(about.title, rounds[0].query if rounds else ""))
        shelf = (about.pinned, about.archived, encode_tags(about.tags))
        abouts.append((id_, title, about.created_at, about.updated_at, *shelf))
        heads.append((ids.get(about.head_id), id_))
    names = "id, title, created_at, updated_at, pinned, archived, tags"
    db.executemany(f"INSERT INTO conversations ({names}) VALUES (?, ?, ?, ?, ?, ?, ?)", abouts)
    db.executemany(_INSERT, rows)
    db.executemany("UPDATE conversations SET head_id = ? WHERE id = ?", heads)
    for ids, pieces in said:
        for old_id, batch in pieces.items():
            append_pieces(db, ids[old_id], batch)
    return tuple(about[0] for about in abouts)


def last_id(db: sqlite3.Connection, table: str) -> int:
    """The highest id that a table has had; 0 before the first."""
    found = db.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
    return found[0] if found else 0


def update_round(db: sqlite3.Connection, ended: Round) -> None:
    """Set the columns of a round that has ended, and index its texts; its rating stays.

    Raises:
        ChatuiError: there is no such round.
    """
    search_index.unindex(db, "id = ?", ended.id)
    row = dict(zip(_SAID, _stored(ended), strict=True))
    del row["rating"], row["note"]
    columns = ", ".join(f"{name} = ?" for name in row)
    _change(db, ended.id, f"UPDATE rounds SET {columns} WHERE id = ?", *row.values(), ended.id)
    search_index.index(db, "id = ?", ended.id)


def rate(
    db: sqlite3.Connection, round_id: int, rating: Rating | None = None, note: str | None = None
) -> Round:
    """Set what the user thinks of a round, and return it; None leaves rating or note as it is.

    Raises:
        ChatuiError: there is no such round.
    """
    stored = None if note is None else encode_text(note)
    update = "UPDATE rounds SET rating = coalesce(?, rating), note = coalesce(?, note) WHERE id = ?"
    _change(db, round_id, update, rating, stored, round_id)
    return get_round(db, round_id)


def _change(db: sqlite3.Connection, round_id: int, statement: str, *values: object) -> None:
    """Change a row of a round."""
    try:
        changed = db.execute(statement, values).rowcount
    except sqlite3.IntegrityError:
        changed = 0
    if not changed:
        raise ChatuiError(say("conversation.no_round", id=round_id))


def _stored(round_: Round) -> list[Any]:
    """The columns ``_SAID`` of a round."""
    values = list(_said(round_))
    for at, form in _TO_FORM:
        if values[at] is not None:
            values[at] = form(values[at])
    return values


# Pieces


def append_pieces(db: sqlite3.Connection, round_id: int, batch: Iterable[Piece]) -> None:
    """Save what came of a reply since the last call, as a batch of its own.

    Raises:
        ChatuiError: there is no such round.
    """
    if data := encode_pieces(batch):
        insert = (
            "INSERT INTO pieces (round_id, batch, data) SELECT ?1,"
            " (SELECT coalesce(max(batch), 0) + 1 FROM pieces WHERE round_id = ?1), ?2"
        )
        _change(db, round_id, insert, round_id, data)


def pieces(db: sqlite3.Connection, round_id: int) -> tuple[Piece, ...]:
    """The pieces of one round, in the order they came."""
    batches = db.execute("SELECT data FROM pieces WHERE round_id = ? ORDER BY batch", (round_id,))
    return tuple(piece for (data,) in batches.fetchall() for piece in decode_pieces(data))


# Prompts


def save_prompt(db: sqlite3.Connection, round_id: int, prompt: RenderedPrompt) -> None:
    """Keep what the model read for a round, in place of what was kept for it before.

    Raises:
        ChatuiError: there is no such round.
    """
    insert = "INSERT OR REPLACE INTO prompts VALUES (?, ?)"
    _change(db, round_id, insert, round_id, encode_prompt(prompt))


def prompt(db: sqlite3.Connection, round_id: int) -> RenderedPrompt | None:
    """What the model read for a round; None if nothing was kept, or it is damaged."""
    row = db.execute("SELECT data FROM prompts WHERE round_id = ?", (round_id,)).fetchone()
    return decode_prompt(row[0]) if row else None


# Conversations


def conversations_where(
    db: sqlite3.Connection,
    condition: str,
    *values: object,
    limit: int = -1,
    order: str = "c.updated_at DESC, c.id DESC",
) -> list[Conversation]:
    """The conversations ``c`` that an SQL condition selects, the last used first; -1: all."""
    rows = db.execute(
        "SELECT c.id, c.title, c.created_at, c.updated_at, coalesce(h.depth, 0),"
        # In a damaged database the head may be lost.
        " coalesce(h.id, (SELECT max(id) FROM rounds WHERE conversation_id = c.id)),"
        " c.id IN (SELECT conversation_id FROM rounds WHERE state = 'streaming'),"
        " coalesce(h.model, ''), c.pinned, c.archived, c.tags"
        " FROM conversations c LEFT JOIN rounds h"
        " ON h.id = c.head_id AND h.conversation_id = c.id"
        f" WHERE {condition} ORDER BY {order} LIMIT ?",
        (*values, limit),
    )
    return [decode_conversation(row) for row in rows.fetchall()]


def insert_conversation(db: sqlite3.Connection, title: str, created_at: float) -> int:
    """Insert a conversation without rounds and return its id."""
    insert = "INSERT INTO conversations (title, created_at, updated_at) VALUES (?, ?, ?)"
    id_ = db.execute(insert, (encode_text(title), created_at, created_at)).lastrowid
    assert id_ is not None
    return id_


def get_conversation(db: sqlite3.Connection, id_: int) -> Conversation:
    """One conversation.

    Raises:
        ChatuiError: there is none, or it was deleted.
    """
    found = conversations_where(db, "c.id = ? AND c.deleted_at IS NULL", id_)
    if not found:
        is_there = db.execute("SELECT 1 FROM conversations WHERE id = ?", (id_,)).fetchone()
        key = "history.deleted" if is_there else "conversation.no_conversation"
        raise ChatuiError(say(key, id=id_))
    return found[0]


def delete_conversation(db: sqlite3.Connection, conversation_id: int) -> None:
    """Delete a conversation, if there is one, with all its rounds, their pieces and prompts."""
    search_index.unindex(db, "conversation_id = ?", conversation_id)
    for statement in (
        "UPDATE conversations SET head_id = NULL WHERE id = ?",
        "DELETE FROM prompts WHERE round_id IN (SELECT id FROM rounds WHERE conversation_id = ?)",
        "DELETE FROM pieces WHERE round_id IN (SELECT id FROM rounds WHERE conversation_id = ?)",
        # In one statement: the rounds refer to each other.
        "DELETE FROM rounds WHERE conversation_id = ?",
        "DELETE FROM conversations WHERE id = ?",
    ):
        db.execute(statement, (conversation_id,))
