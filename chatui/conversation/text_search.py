"""Search titles, queries and replies, in any script.

A text of one or more characters is found as a substring, ignoring case and the difference between
traditional and simplified hanzi. Two or more letters also find hanzi by their pinyin: ``bj`` and
``beij`` find 北京.

Candidate rounds are looked up in two trigram indexes (SQLite FTS5): ``round_index`` of the texts
and ``sound_index`` of the first letters of the hanzi's pinyin. Each indexed text is followed by two
more characters, so that a search for one or two characters is a search for the beginning of
trigrams. If many rounds have these, rounds are read without the index, newest first, until enough
are found. Every candidate is then checked with a regular expression.
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

from chatui import hanzi
from chatui.conversation import search_index
from chatui.conversation.stored_values import decode_text, encode_text
from chatui.hanzi import Spelling

LONGEST_TEXT = 200
_CHARACTERS_BEFORE, _CHARACTERS_AFTER = 16, 48
"""Characters of the text shown before and after a match."""
_MOST_CANDIDATES = 1_000
"""If more rounds have a trigram, reading rounds without the index finds enough matches soon."""
_MOST_TRIGRAMS = 100
"""Maximum alternatives of a trigram in an FTS5 query."""
_MOST_FIRST_CHARACTERS = 300
"""Maximum alternatives of the first character of a trigram."""


@dataclass(frozen=True)
class SearchHit:
    """A match of a search.

    A round gives one hit, in its query if that matches. A title gives none if a first query of the
    conversation matches.

    Attributes:
        conversation_id, title: the conversation.
        round_id: the round; None for a hit in the title.
        where: "title", "query" or "reply".
        before, match, after: the match and the text around it on one line; "…" where it was cut.
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
    """A text to find, either as it is written or by its pinyin.

    Attributes:
        pattern: matches it in a text.
        written: the characters allowed at each place, as stored; () for pinyin.
        initials: the letters, if each can be the initial of a hanzi; otherwise "".
        syllables: the ways to read the letters as syllables.
    """

    pattern: re.Pattern[str]
    written: Spelling = ()
    initials: str = ""
    syllables: tuple[Spelling, ...] = ()


def search_pattern(text: str) -> re.Pattern[str] | None:
    """Return a regular expression for ``text`` by its characters or pinyin; None if blank."""
    found = [each.pattern.pattern for each in _search_terms(text)]
    return re.compile("|".join(found), re.IGNORECASE) if found else None


def search(
    db: sqlite3.Connection, text: str, limit: int, *, once: bool = False, tag: str = ""
) -> tuple[SearchHit, ...]:
    """Return hits in titles, then in rounds, newest first; matches by pinyin follow all others.

    Args:
        text: the text to find; surrounding white space is ignored, and only the first
            ``LONGEST_TEXT`` characters are used. A blank text finds nothing.
        limit: maximum number of hits; negative for all.
        once: return one hit for each conversation.
        tag: search only conversations with this tag, encoded by ``stored_values.encode_tags``.
    """
    excluded = db.execute(
        "SELECT id FROM conversations WHERE deleted_at IS NOT NULL OR NOT instr(tags, ?)", (tag,)
    )
    skipped = {id_ for (id_,) in excluded}
    return tuple(islice(_hits(db, text, once, skipped), None if limit < 0 else limit))


@lru_cache(16)
def _search_terms(text: str) -> tuple[_SearchTerm, ...]:
    text = text.strip()[:LONGEST_TEXT]
    if not text:
        return ()
    literal = hanzi.regex(tuple(hanzi.script_variants(character) for character in text))
    written = tuple(hanzi.script_variants(character) for character in encode_text(text))
    found = [_SearchTerm(re.compile(literal, re.IGNORECASE), written)]
    typed = text.lower()
    if len(typed) > 1 and typed.isascii() and typed.isalpha():
        spelled, syllables = hanzi.spelled_initials(typed), hanzi.spelled_syllables(typed)
        spellings = [*([spelled] if spelled else []), *syllables]
        if spellings:
            sounds = re.compile("|".join(map(hanzi.regex, spellings)))
            found.append(_SearchTerm(sounds, (), typed if spelled else "", syllables))
    return tuple(found)


def _hits(db: sqlite3.Connection, text: str, once: bool, skipped: set[int]) -> Iterator[SearchHit]:
    found: set[tuple[int, int | None]] = set()

    def is_done(conversation_id: int, round_id: int | None) -> bool:
        return conversation_id in skipped or (conversation_id, round_id) in found

    for term in _search_terms(text):
        for search_in in (_in_titles, _in_rounds):
            for hit in search_in(db, term, is_done):
                found.add((hit.conversation_id, hit.round_id))
                if once:
                    skipped.add(hit.conversation_id)
                yield hit


_IsDone = Callable[[int, int | None], bool]
"""True if a conversation's title (None) or round need not be searched."""


def _in_titles(db: sqlite3.Connection, term: _SearchTerm, is_done: _IsDone) -> Iterator[SearchHit]:
    titles = db.execute(
        "SELECT id, title FROM conversations WHERE head_id IS NOT NULL"
        " ORDER BY updated_at DESC, id DESC"
    )
    for conversation_id, stored in titles:
        found = term.pattern.search(title := decode_text(stored))
        if found is None or is_done(conversation_id, None):
            continue
        firsts = db.execute(
            "SELECT query FROM rounds WHERE conversation_id = ? AND parent_id IS NULL",
            (conversation_id,),
        )
        if not any(term.pattern.search(decode_text(query)) for (query,) in firsts.fetchall()):
            yield SearchHit(conversation_id, title, None, "title", *_snippet(title, found))


def _in_rounds(db: sqlite3.Connection, term: _SearchTerm, is_done: _IsDone) -> Iterator[SearchHit]:
    candidates, values = _candidates(db, term) if search_index.has_index(db) else ("", ())
    condition = candidates and f"WHERE id IN ({candidates})"
    rounds = db.execute(
        f"SELECT id, conversation_id, query, reply FROM rounds {condition} ORDER BY id DESC", values
    )
    for round_id, conversation_id, query, reply in rounds:
        if is_done(conversation_id, round_id):
            continue
        texts: tuple[tuple[Literal["query", "reply"], str], ...]
        texts = (("query", decode_text(query)), ("reply", decode_text(reply)))
        for where, said in texts:
            if found := term.pattern.search(said):
                titles = db.execute(
                    "SELECT title FROM conversations WHERE id = ?", (conversation_id,)
                )
                # In a damaged database the conversation may be missing.
                for (stored,) in titles.fetchall():
                    title = decode_text(stored)
                    yield SearchHit(conversation_id, title, round_id, where, *_snippet(said, found))
                break


def _candidates(db: sqlite3.Connection, term: _SearchTerm) -> tuple[str, Sequence[object]]:
    """Return SQL that selects the ids of candidate rounds, and its values; "" for all rounds."""
    queries = ["SELECT id FROM rounds WHERE indexed = 0"]
    values: list[object] = []
    lookups: list[tuple[str, Spelling]] = []
    if term.written:
        lookups.append(("round", term.written))
    if term.initials:
        lookups.append(("sound", tuple(term.initials)))
    for syllables in term.syllables:
        letters = tuple(hanzi.initials(place[0])[0] for place in syllables)
        lookups.append(("round", syllables) if len(syllables) < 3 else ("sound", letters))
    for index, spelling in lookups:
        if len(spelling) < 3:
            trigrams = _trigrams_beginning_with(db, index, spelling)
            if trigrams is None:
                return "", ()
            queries.append(
                f"SELECT doc FROM json_each(?) CROSS JOIN {index}_terms WHERE term = value"
            )
            values.append(json.dumps(trigrams))
        elif phrases := _trigram_query(spelling):
            queries.append(f"SELECT rowid FROM {index}_index WHERE {index}_index MATCH ?")
            values.append(phrases)
        else:
            return "", ()
    return " UNION ".join(queries), values


def _trigram_query(spelling: Spelling) -> str:
    """Return an FTS5 query for the trigrams of a spelling; "" if all have too many alternatives."""
    alternatives = []
    # Overlapping trigrams are more selective: "shi" is in many texts, "his" in few.
    for start in range(len(spelling) - 2):
        places = spelling[start : start + 3]
        if prod(map(len, places)) <= _MOST_TRIGRAMS:
            grams = ("".join(gram).replace('"', '""') for gram in product(*places))
            alternatives.append("(" + " OR ".join(f'"{gram}"' for gram in grams) + ")")
    return " AND ".join(dict.fromkeys(alternatives))


def _trigrams_beginning_with(
    db: sqlite3.Connection, index: str, spelling: Spelling
) -> list[str] | None:
    """Return the indexed trigrams that begin with a spelling of one or two characters.

    If many rounds have them, return None.
    """
    firsts, seconds = spelling[0].lower(), "".join(spelling[1:]).lower()
    if len(firsts) > _MOST_FIRST_CHARACTERS:
        return None
    # This table has one row for each distinct trigram.
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
        if rounds >= _MOST_CANDIDATES:
            return None
    return trigrams


def _snippet(text: str, found: re.Match[str]) -> tuple[str, str, str]:
    """Return the text before a match, the match, and the text after it, each on one line."""
    start, end = found.span()
    first = max(0, start - _CHARACTERS_BEFORE)
    last = min(len(text), end + _CHARACTERS_AFTER)
    before = ("…" if first else "") + text[first:start]
    after = text[end:last] + ("…" if last < len(text) else "")
    return _one_line(before), _one_line(found[0]), _one_line(after)


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text)
