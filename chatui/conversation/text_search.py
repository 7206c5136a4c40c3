"""Substring search over titles, queries and replies, in any script.

Three or more characters are looked up in a trigram index (SQLite FTS5). One or two, which are whole
words in Chinese but have no trigram, are searched in the rounds themselves, and so is everything if
SQLite has no trigram tokenizer. Case is ignored (without the index: ASCII case alone).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from chatui.conversation.tables import from_stored, has_index, to_stored

LONGEST_TEXT = 200
_BEFORE, _AFTER = 16, 48


@dataclass(frozen=True)
class Hit:
    """A place where the text was found.

    Attributes:
        conversation_id, title: the conversation.
        round_id: the round; None for a hit in the title.
        where: "title", "query" or "reply"; a round gives one hit, its query's first, and a title
            none where its first query has it already.
        before, match, after: one line of the text around the place; "…" where it was cut.
    """

    conversation_id: int
    title: str
    round_id: int | None
    where: Literal["title", "query", "reply"]
    before: str
    match: str
    after: str

    @property
    def snippet(self) -> str:
        return self.before + self.match + self.after


def find(db: sqlite3.Connection, text: str, limit: int) -> tuple[Hit, ...]:
    """Titles first, then rounds, the newest first; at most ``limit`` in all (below 0: all).

    Args:
        text: searched as it is, without blanks around it; blank finds nothing, and only the first
            ``LONGEST_TEXT`` characters count.
    """
    wanted = text.strip()[:LONGEST_TEXT]
    if not wanted:
        return ()
    pattern = re.compile(re.escape(wanted), re.IGNORECASE)
    return tuple(islice(_hits(db, wanted, pattern), None if limit < 0 else limit))


def conversations_with(db: sqlite3.Connection, text: str) -> set[int]:
    """The ids of the conversations in which :func:`find` would find ``text``."""
    wanted = text.strip()[:LONGEST_TEXT]
    condition, values = _condition(db, wanted)
    rows = db.execute(
        "SELECT id FROM conversations WHERE title LIKE ?1 ESCAPE '\\'"
        f" UNION SELECT r.conversation_id FROM rounds r WHERE {condition}",
        values,
    )
    return {id_ for (id_,) in rows} if wanted else set()


def _hits(db: sqlite3.Connection, wanted: str, pattern: re.Pattern[str]) -> Iterator[Hit]:
    condition, values = _condition(db, wanted)
    titles = db.execute(
        "SELECT id, title FROM conversations c WHERE title LIKE ?1 ESCAPE '\\'"
        " AND head_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM rounds WHERE"
        " conversation_id = c.id AND parent_id IS NULL AND query LIKE ?1 ESCAPE '\\')"
        " ORDER BY updated_at DESC, id DESC",
        values[:1],
    )
    for conversation_id, stored in titles:
        title = from_stored(stored)
        if found := pattern.search(title):
            yield Hit(conversation_id, title, None, "title", *_around(title, found))
    rounds = db.execute(
        "SELECT r.conversation_id, c.title, r.id, r.query, r.reply FROM rounds r"
        f" JOIN conversations c ON c.id = r.conversation_id WHERE {condition} ORDER BY r.id DESC",
        values,
    )
    for conversation_id, title, round_id, query, reply in rounds:
        texts: tuple[tuple[Literal["query", "reply"], str], ...]
        texts = (("query", from_stored(query)), ("reply", from_stored(reply)))
        for where, text in texts:
            if found := pattern.search(text):
                around = _around(text, found)
                yield Hit(conversation_id, from_stored(title), round_id, where, *around)
                break


def _condition(db: sqlite3.Connection, wanted: str) -> tuple[str, list[str]]:
    """SQL for the rounds ``r`` that may hold the text, and its values; ?1 is the LIKE pattern."""
    like = "%" + re.sub(r"([%_\\])", r"\\\1", to_stored(wanted)) + "%"
    condition = "(r.query LIKE ?1 ESCAPE '\\' OR r.reply LIKE ?1 ESCAPE '\\')"
    if len(wanted) < 3 or not has_index(db):
        return condition, [like]
    phrase = '"' + to_stored(wanted).replace('"', '""') + '"'
    indexed = "r.id IN (SELECT rowid FROM round_index WHERE round_index MATCH ?2)"
    return f"(r.indexed = 0 AND {condition} OR {indexed})", [like, phrase]


def _around(text: str, found: re.Match[str]) -> tuple[str, str, str]:
    """What stands before, at and after a place in a text, in one line."""
    start, end = found.span()
    first, last = max(0, start - _BEFORE), min(len(text), end + _AFTER)
    before = ("…" if first else "") + text[first:start]
    after = text[end:last] + ("…" if last < len(text) else "")
    return _one_line(before), _one_line(found[0]), _one_line(after)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
