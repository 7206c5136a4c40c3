"""Chinese found by its sound: 翻译 by ``fanyi``, by ``fy``, and by their beginnings.

``sounds.txt``, made of pypinyin's dictionary by ``docs/make_hanzi_tables.py``, has each syllable
with the hanzi of which it is the first reading, and those of which it is another one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

Spelling = tuple[str, ...]
"""For each place of a text, the characters that may stand there."""

_TABLE_END = 0x10000
_NO_HANZI = "."
_MOST_LETTERS = 40
_MOST_WAYS = 8

_SECOND_INITIALS = (
    "长c重c行h朝z调t乐y弹t率s降x校j便p曾z藏z传z参s省x系j会k盛c卡q見x见x長c調t樂y彈t傳z參s會k係j"
)
"""Hanzi of which a second reading with another initial is as common, and that initial."""
_SECOND = dict(zip(_SECOND_INITIALS[::2], _SECOND_INITIALS[1::2], strict=True))
_SECOND_HANZI = re.compile(f"[{''.join(_SECOND)}]")
_AROUND_SECOND = re.compile(f".{{0,3}}{_SECOND_HANZI.pattern}.{{0,3}}")


@lru_cache(1)
def _syllables() -> dict[str, tuple[str, str]]:
    """Syllable -> (hanzi by their first reading, hanzi by another one)."""
    lines = Path(__file__).with_name("sounds.txt").read_text(encoding="utf-8").splitlines()
    parts = (line.split(" ") for line in lines)
    # "m" and "ng" are sounds that nobody types for a hanzi.
    return {one[0]: (one[1], one[2]) for one in parts if re.search("[aeiou]", one[0])}


@lru_cache(1)
def _initial_letters() -> list[int]:
    """The first letter of each code point's first reading; "." if there is none."""
    letters = [ord(_NO_HANZI)] * _TABLE_END
    for syllable, (first, _) in _syllables().items():
        for hanzi in first:
            letters[ord(hanzi)] = ord(syllable[0])
    return letters


@lru_cache(1)
def _by_initial() -> dict[str, str]:
    """Letter -> the hanzi that begin with it, and the letter itself."""
    found: dict[str, str] = {}
    for syllable, (first, _) in _syllables().items():
        found[syllable[0]] = found.get(syllable[0], syllable[0]) + first
    for hanzi, letter in _SECOND.items():
        found[letter] += hanzi
    return found


@lru_cache(512)
def _beginning_with(letters: str) -> str:
    """The hanzi whose syllable begins with these letters."""
    return "".join(
        first + others
        for syllable, (first, others) in _syllables().items()
        if syllable.startswith(letters)
    )


def prepare() -> None:
    """Read the table: in a thread, before it is needed."""
    _by_initial()


def initials(text: str) -> str:
    """The first letter of each hanzi's sound, and a full stop for other characters.

    Behind it, each after a full stop, the same once more around hanzi with two common readings; two
    full stops stand at the end. The index of the search holds it, so it must not change.
    """
    letters = _initial_letters()
    parts = [text.translate(letters)]
    end = 0
    # Searching the hanzi first is far faster than searching what stands around one.
    while second := _SECOND_HANZI.search(text, end):
        start = max(end, second.start() - 3, text.rfind("\n", end, second.start()) + 1)
        around = _AROUND_SECOND.match(text, start)
        assert around is not None
        end = around.end()
        parts.append("".join(_SECOND.get(hanzi) or hanzi.translate(letters) for hanzi in around[0]))
    return _NO_HANZI.join(parts) + _NO_HANZI * 2


@lru_cache(256)
def spelled_initials(typed: str) -> Spelling | None:
    """The hanzi that ``typed`` spells by one letter each; None if it cannot."""
    known = _by_initial()
    if not typed or len(typed) > _MOST_LETTERS or any(letter not in known for letter in typed):
        return None
    return tuple(known[letter] for letter in typed)


@lru_cache(256)
def spelled_syllables(typed: str) -> tuple[Spelling, ...]:
    """The ways to read ``typed`` as syllables, the last of which may be begun."""
    typed = typed.replace("v", "u")
    if len(typed) > _MOST_LETTERS or not typed.isascii() or not typed.isalpha():
        return ()
    known = _syllables()
    # The ways to read what begins at each place, from the end on.
    ways: list[list[Spelling]] = [[] for _ in typed]
    for start in reversed(range(len(typed))):
        if begun := _beginning_with(typed[start:]):
            ways[start].append((begun,))
        for end in range(start + 1, min(len(typed), start + 7)):
            if one := known.get(typed[start:end]):
                ways[start] += [("".join(one), *rest) for rest in ways[end]]
        ways[start] = sorted(ways[start], key=len)[:_MOST_WAYS]
    return tuple(ways[0])


def regex(spelling: Spelling) -> str:
    """A regular expression for one of the characters at each place."""
    return "".join(
        f"[{re.escape(characters)}]" if len(characters) > 1 else re.escape(characters)
        for characters in spelling
    )


@lru_cache(256)
def _pattern(typed: str) -> re.Pattern[str]:
    """What a text written so may begin with."""
    found = [re.escape(typed)]
    if spelling := spelled_initials(typed):
        found.append(regex(spelling))
    found += map(regex, spelled_syllables(typed))
    return re.compile("|".join(found))


def begins_with(text: str, typed: str) -> bool:
    """Whether ``text`` begins with what was typed, as it is written or by its sound."""
    return bool(_pattern(typed.casefold()).match(text.casefold()))


def contains(text: str, typed: str) -> bool:
    """Whether ``typed`` stands somewhere in ``text``, as it is written or by its sound."""
    return bool(_pattern(typed.casefold()).search(text.casefold()))
