"""Match hanzi by pinyin and by their variants.

翻译 is found by ``fanyi``, by ``fy``, and by the beginnings of both: ``sounds.txt`` lists each
syllable with the hanzi that have it as their first reading and those that have it as another one,
``traditional.txt`` pairs of a traditional and a simplified character. ``docs/make_hanzi_tables.py``
makes them from pypinyin's dictionary and OpenCC's table.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

Spelling = tuple[str, ...]
"""The characters allowed at each place of a text."""

_CODE_POINTS = 0x10000
_NO_HANZI = "."
_MOST_LETTERS = 40
_MOST_SPELLINGS = 8

_SECOND_INITIALS = (
    "长c重c行h朝z调t乐y弹t率s降x校j便p曾z藏z传z参s省x系j会k盛c卡q見x见x長c調t樂y彈t傳z參s會k係j"
)
"""Hanzi with a common second reading, each followed by the initial of that reading."""
_SECOND = dict(zip(_SECOND_INITIALS[::2], _SECOND_INITIALS[1::2], strict=True))
_SECOND_HANZI = re.compile(f"[{''.join(_SECOND)}]")
_AROUND_SECOND = re.compile(f".{{0,3}}{_SECOND_HANZI.pattern}.{{0,3}}")


@lru_cache(1)
def _syllables() -> dict[str, tuple[str, str]]:
    """Map each syllable to (hanzi by their first reading, hanzi by another reading)."""
    lines = Path(__file__).with_name("sounds.txt").read_text(encoding="utf-8").splitlines()
    parts = (line.split(" ") for line in lines)
    # Syllables without a vowel, "m" and "ng", are not typed.
    return {one[0]: (one[1], one[2]) for one in parts if re.search("[aeiou]", one[0])}


@lru_cache(1)
def _initial_letters() -> list[int]:
    """List the first letter of each code point's first reading, or ".", for ``str.translate``."""
    letters = [ord(_NO_HANZI)] * _CODE_POINTS
    for syllable, (first, _) in _syllables().items():
        for hanzi in first:
            letters[ord(hanzi)] = ord(syllable[0])
    return letters


@lru_cache(1)
def _by_initial() -> dict[str, str]:
    """Map each letter to itself and the hanzi that begin with it."""
    found: dict[str, str] = {}
    for syllable, (first, _) in _syllables().items():
        found[syllable[0]] = found.get(syllable[0], syllable[0]) + first
    for hanzi, letter in _SECOND.items():
        found[letter] += hanzi
    return found


@lru_cache(512)
def _beginning_with(letters: str) -> str:
    """Return the hanzi with a syllable that begins with these letters."""
    return "".join(
        first + others
        for syllable, (first, others) in _syllables().items()
        if syllable.startswith(letters)
    )


def prepare() -> None:
    """Load the table. Call this in a thread before it is needed."""
    _by_initial()


def initials(text: str) -> str:
    """Return the initial of each hanzi's pinyin, with "." for other characters.

    The text around each hanzi with two common readings follows again with the second reading, each
    time after a ".". Two more "." end the result. The search index stores it, so it must not
    change.
    """
    letters = _initial_letters()
    parts = [text.translate(letters)]
    end = 0
    # Searching for the hanzi alone first is much faster than matching the text around it.
    while second := _SECOND_HANZI.search(text, end):
        start = max(end, second.start() - 3, text.rfind("\n", end, second.start()) + 1)
        around = _AROUND_SECOND.match(text, start)
        assert around is not None
        end = around.end()
        parts.append("".join(_SECOND.get(hanzi) or hanzi.translate(letters) for hanzi in around[0]))
    return _NO_HANZI.join(parts) + _NO_HANZI * 2


@lru_cache(256)
def spelled_initials(typed: str) -> Spelling | None:
    """Return the spelling with one letter for each hanzi; None if a letter is not an initial."""
    known = _by_initial()
    if not typed or len(typed) > _MOST_LETTERS or any(letter not in known for letter in typed):
        return None
    return tuple(known[letter] for letter in typed)


@lru_cache(256)
def spelled_syllables(typed: str) -> tuple[Spelling, ...]:
    """Return the spellings by syllables; the last syllable may be incomplete."""
    typed = typed.replace("v", "u")
    if len(typed) > _MOST_LETTERS or not typed.isascii() or not typed.isalpha():
        return ()
    known = _syllables()
    # The spellings of the rest of the text from each place, filled from the end.
    spellings: list[list[Spelling]] = [[] for _ in typed]
    for start in reversed(range(len(typed))):
        if begun := _beginning_with(typed[start:]):
            spellings[start].append((begun,))
        for end in range(start + 1, min(len(typed), start + 7)):
            if one := known.get(typed[start:end]):
                spellings[start] += [("".join(one), *rest) for rest in spellings[end]]
        spellings[start] = sorted(spellings[start], key=len)[:_MOST_SPELLINGS]
    return tuple(spellings[0])


def regex(spelling: Spelling) -> str:
    """Return a regular expression that matches a spelling."""
    return "".join(
        f"[{re.escape(characters)}]" if len(characters) > 1 else re.escape(characters)
        for characters in spelling
    )


@lru_cache(256)
def _pattern(typed: str) -> re.Pattern[str]:
    """Compile a pattern for ``typed`` as it is written or by pinyin."""
    found = [re.escape(typed)]
    if spelling := spelled_initials(typed):
        found.append(regex(spelling))
    found += map(regex, spelled_syllables(typed))
    return re.compile("|".join(found))


def begins_with(text: str, typed: str) -> bool:
    """True if ``text`` begins with ``typed``, as it is written or by pinyin."""
    return bool(_pattern(typed.casefold()).match(text.casefold()))


def contains(text: str, typed: str) -> bool:
    """True if ``text`` contains ``typed``, as it is written or by pinyin."""
    return bool(_pattern(typed.casefold()).search(text.casefold()))


@lru_cache(1)
def _variants() -> dict[str, str]:
    """Map each hanzi that has variants to all its variants, itself included."""
    text = Path(__file__).with_name("traditional.txt").read_text(encoding="utf-8").replace("\n", "")
    groups: dict[str, str] = {}
    for traditional, simplified in zip(text[::2], text[1::2], strict=True):
        groups[simplified] = groups.get(simplified, simplified) + traditional
    return {hanzi: group for group in groups.values() for hanzi in group}


def script_variants(character: str) -> str:
    """Return the character followed by its variants: 后後 for 后, 後后 for 後, a for a."""
    return character + _variants().get(character, "").replace(character, "")
