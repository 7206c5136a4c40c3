"""Search over titles, queries and replies, in any script.

A text is found as a substring of one character or more, whatever the case, in traditional as well
as in simplified hanzi. Two letters or more find hanzi by their sound too: ``bj`` and ``beij`` find
北京.

What may hold the text is looked up in two trigram indexes (SQLite FTS5): ``round_index`` of the
texts, ``sound_index`` of the first letters of the hanzi's sounds. Both end in two characters more
than the text, so that one or two characters are the beginning of some trigram; if that is a
common one, the rounds are read, the newest first, until enough are found. Each place is then looked
at in the text itself.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, product
from math import prod
from typing import Literal

from chatui import pinyin
from chatui.conversation import search_index
from chatui.conversation.stored_values import decode_text, encode_text
from chatui.pinyin import Spelling
from chatui.traditional import script_variants

LONGEST_TEXT = 200
_BEFORE, _AFTER = 16, 48
_RARE = 1_000
"""What more rounds have is common: reading them finds enough of it soon."""
_MOST_PHRASES = 100
_MOST_CHARACTERS = 300


@dataclass(frozen=True)
class SearchHit:
    """A place where the text was found.

    Attributes:
        conversation_id, title: the conversation.
        round_id: the round; None for a hit in the title.
        where: "title", "query" or "reply"; a round gives one hit, its query's first, and a title
            none where its first query has it already.
        before, match, after: one line of the text around the place; "…" if it was cut.
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


@dataclass(frozen=True)
class _SearchTerm:
    """What is looked for.

    Attributes:
        pattern: finds it in a text.
        written: the characters at each place as the store has them; () if sounds are meant.
        initials, syllables: the ways to read the letters as sounds.
    """

    pattern: re.Pattern[str]
    written: Spelling = ()
    initials: str = ""
    syllables: tuple[Spelling, ...] = ()


def search_pattern(text: str) -> re.Pattern[str] | None:
    """What finds ``text`` as the search does, by its characters or by its sound; None: blank."""
    found = [each.pattern.pattern for each in _wanted(text)]
    return re.compile("|".join(found), re.IGNORECASE) if found else None


def search(
    db: sqlite3.Connection, text: str, limit: int, *, once: bool = False, tag: str = ""
) -> tuple[SearchHit, ...]:
    """Titles first, then rounds, the newest first; what only sounds so stands behind all others.

    Args:
        text: searched as it is, without blanks around it; blank finds nothing, and only the first
            ``LONGEST_TEXT`` characters count.
        limit: at most so many hits; below 0: all.
        once: give one hit of each conversation.
        tag: only of conversations with this one, as the store has it.
    """
    left_out = db.execute(
        "SELECT id FROM conversations WHERE deleted_at IS NOT NULL OR NOT instr(tags, ?)", (tag,)
    )
    gone = {id_ for (id_,) in left_out}
    return tuple(islice(_hits(db, text, once, gone), None if limit < 0 else limit))


@lru_cache(16)
def _wanted(text: str) -> tuple[_SearchTerm, ...]:
    text = text.strip()[:LONGEST_TEXT]
    if not text:
        return ()
    literal = pinyin.regex(tuple(script_variants(character) for character in text))
    written = tuple(script_variants(character) for character in encode_text(text))
    found = [_SearchTerm(re.compile(literal, re.IGNORECASE), written)]
    typed = text.lower()
    if len(typed) > 1 and typed.isascii() and typed.isalpha():
        spelled, syllables = pinyin.spelled_initials(typed), pinyin.spelled_syllables(typed)
        ways = [*([spelled] if spelled else []), *syllables]
        if ways:
            sounds = re.compile("|".join(map(pinyin.regex, ways)))
            found.append(_SearchTerm(sounds, (), typed if spelled else "", syllables))
    return tuple(found)


def _hits(db: sqlite3.Connection, text: str, once: bool, gone: set[int]) -> Iterator[SearchHit]:
    given: set[tuple[int, int | None]] = set()

    def is_known(conversation_id: int, round_id: int | None) -> bool:
        return conversation_id in gone or (conversation_id, round_id) in given

    for wanted in _wanted(text):
        for hits in (_in_titles, _in_rounds):
            for hit in hits(db, wanted, is_known):
                given.add((hit.conversation_id, hit.round_id))
                if once:
                    gone.add(hit.conversation_id)
                yield hit


IsKnown = Callable[[int, int | None], bool]
"""Whether nothing more is to be found in a conversation's title (None) or round."""


def _in_titles(
    db: sqlite3.Connection, wanted: _SearchTerm, is_known: IsKnown
) -> Iterator[SearchHit]:
    titles = db.execute(
        "SELECT id, title FROM conversations WHERE head_id IS NOT NULL"
        " ORDER BY updated_at DESC, id DESC"
    )
    for conversation_id, stored in titles:
        found = wanted.pattern.search(title := decode_text(stored))
        if found is None or is_known(conversation_id, None):
            continue
        firsts = db.execute(
            "SELECT query FROM rounds WHERE conversation_id = ? AND parent_id IS NULL",
            (conversation_id,),
        )
        if not any(wanted.pattern.search(decode_text(query)) for (query,) in firsts.fetchall()):
            yield SearchHit(conversation_id, title, None, "title", *_around(title, found))


def _in_rounds(
    db: sqlite3.Connection, wanted: _SearchTerm, is_known: IsKnown
) -> Iterator[SearchHit]:
    candidates, values = _candidates(db, wanted) if search_index.has_index(db) else ("", ())
    condition = candidates and f"WHERE id IN ({candidates})"
    rounds = db.execute(
        f"SELECT id, conversation_id, query, reply FROM rounds {condition} ORDER BY id DESC", values
    )
    for round_id, conversation_id, query, reply in rounds:
        if is_known(conversation_id, round_id):
            continue
        texts: tuple[tuple[Literal["query", "reply"], str], ...]
        texts = (("query", decode_text(query)), ("reply", decode_text(reply)))
        for where, said in texts:
            if found := wanted.pattern.search(said):
                titles = db.execute(
                    "SELECT title FROM conversations WHERE id = ?", (conversation_id,)
                )
                # In a damaged database a round may belong to none.
                for (stored,) in titles.fetchall():
                    title = decode_text(stored)
                    yield SearchHit(conversation_id, title, round_id, where, *_around(said, found))
                break


# What the indexes know


def _candidates(db: sqlite3.Connection, wanted: _SearchTerm) -> tuple[str, Sequence[object]]:
    """SQL for the ids of the rounds that may hold what is wanted, and its values; "" for all."""
    queries = ["SELECT id FROM rounds WHERE indexed = 0"]
    values: list[object] = []
    lookups: list[tuple[str, Spelling]] = []
    if wanted.written:
        lookups.append(("round", wanted.written))
    if wanted.initials:
        lookups.append(("sound", tuple(wanted.initials)))
    for way in wanted.syllables:
        letters = tuple(pinyin.initials(place[0])[0] for place in way)
        lookups.append(("round", way) if len(way) < 3 else ("sound", letters))
    for index, way in lookups:
        if len(way) < 3:
            trigrams = _beginning_with(db, index, way)
            if trigrams is None:
                return "", ()
            queries.append(
                f"SELECT doc FROM json_each(?) CROSS JOIN {index}_terms WHERE term = value"
            )
            values.append(json.dumps(trigrams))
        elif phrases := _match(way):
            queries.append(f"SELECT rowid FROM {index}_index WHERE {index}_index MATCH ?")
            values.append(phrases)
        else:
            return "", ()
    return " UNION ".join(queries), values


def _match(spelling: Spelling) -> str:
    """FTS5's query for the trigrams of a spelling; "" if there would be too many."""
    alternatives = []
    # All of them, though every third has each character: "shi" is in many texts, "his" in few.
    for start in range(len(spelling) - 2):
        places = spelling[start : start + 3]
        if prod(map(len, places)) <= _MOST_PHRASES:
            grams = ("".join(gram).replace('"', '""') for gram in product(*places))
            alternatives.append("(" + " OR ".join(f'"{gram}"' for gram in grams) + ")")
    return " AND ".join(dict.fromkeys(alternatives))


def _beginning_with(db: sqlite3.Connection, index: str, way: Spelling) -> list[str] | None:
    """The trigrams that begin with one or two characters; None if many rounds have them."""
    firsts, seconds = way[0].lower(), "".join(way[1:]).lower()
    if len(firsts) > _MOST_CHARACTERS:
        return None
    # A row for each trigram, many times fewer than places in the texts.
    db.execute(
        f"CREATE VIRTUAL TABLE IF NOT EXISTS temp.{index}_trigrams"
        f" USING fts5vocab (main, {index}_index, row)"
    )
    beginnings, second = [first + seconds for first in firsts], ""
    if len(seconds) > 1:
        beginnings = list(firsts)
        second = " AND substr(term, 2, 1) IN (SELECT value FROM json_each(?2))"
    rows = db.execute(
        f"SELECT term, doc FROM json_each(?1) CROSS JOIN {index}_trigrams"
        f" WHERE term >= value AND term < value || char(0x10ffff) AND ?2 IS NOT NULL{second}",
        (json.dumps(beginnings), json.dumps(list(seconds))),
    )
    trigrams: list[str] = []
    rounds = 0
    for trigram, count in rows:
        trigrams.append(trigram)
        rounds += count
        if rounds >= _RARE:
            return None
    return trigrams


def _around(text: str, found: re.Match[str]) -> tuple[str, str, str]:
    """What stands before, at and after a place in a text, in one line."""
    start, end = found.span()
    first, last = max(0, start - _BEFORE), min(len(text), end + _AFTER)
    before = ("…" if first else "") + text[first:start]
    after = text[end:last] + ("…" if last < len(text) else "")
    return _one_line(before), _one_line(found[0]), _one_line(after)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
