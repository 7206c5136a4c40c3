"""Find the differences between texts by words, and in Chinese by characters.

Texts are compared with :mod:`difflib`, whose longest common runs give readable results. A common
run that is shorter than the differences on both sides of it is taken as a coincidence, and counts
as different too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Any, TypeAlias

Spans: TypeAlias = tuple[tuple[int, int], ...]
"""Parts of a text as (start, end), in order and not adjacent."""

MOST_UNITS = 6_000
"""Texts with more words and characters are compared line by line."""

_SINGLE = r"\p{Han}\p{Hiragana}\p{Katakana}"
_UNIT = rf"[\w--[{_SINGLE}]]+|\s+|\X"
_LINE = r"[^\n]*\n|[^\n]+"


def differences(one: str, other: str) -> tuple[Spans, Spans]:
    """Return the parts of ``one`` that are not in ``other``, and the reverse.

    Indices count code points. Grapheme clusters (UAX #29) are not split.
    """
    if one == other:
        return (), ()
    units = _units(one), _units(other)
    if max(map(len, units)) > MOST_UNITS:
        units = _units(one, _LINE), _units(other, _LINE)
    ends = tuple([0, *accumulate(map(len, each))] for each in units)
    found: tuple[list[tuple[int, int]], list[tuple[int, int]]] = [], []
    for parts in _differing(*units):
        for spans, end, (start, stop) in zip(found, ends, parts, strict=True):
            if start < stop:
                spans.append((end[start], end[stop]))
    return tuple(found[0]), tuple(found[1])


def differing_spans(texts: Sequence[str]) -> list[Spans]:
    """Return the differing parts of each text.

    Those of the first are the parts that some other text lacks; those of each other text are the
    parts that the first lacks.
    """
    pairs = [differences(texts[0], other) for other in texts[1:]]
    return [_union([mine for mine, _ in pairs]), *(theirs for _, theirs in pairs)] if texts else []


_Pair: TypeAlias = tuple[tuple[int, int], tuple[int, int]]


def _differing(one: list[str], other: list[str]) -> list[_Pair]:
    """Return the ranges of units that differ, as (start, end) in both texts."""
    # Importing it here keeps the start of the app fast.
    from difflib import SequenceMatcher

    shortest = min(len(one), len(other))
    first = next((at for at in range(shortest) if one[at] != other[at]), shortest)
    found: list[_Pair] = []
    for kind, *ends in SequenceMatcher(None, one[first:], other[first:]).get_opcodes():
        if kind != "equal":
            start, end, other_start, other_end = (first + each for each in ends)
            found.append(((start, end), (other_start, other_end)))
            _join_over_coincidences(found)
    return found


def _join_over_coincidences(found: list[_Pair]) -> None:
    """Join the last differences while the common run between two of them is short."""
    while len(found) > 1:
        (one, other), (next_one, next_other) = found[-2:]
        same = next_one[0] - one[1]
        if same >= _size(one, other) or same >= _size(next_one, next_other):
            return
        found[-2:] = [((one[0], next_one[1]), (other[0], next_other[1]))]


def _size(one: tuple[int, int], other: tuple[int, int]) -> int:
    return max(one[1] - one[0], other[1] - other[0])


def _union(spans: Sequence[Spans]) -> Spans:
    """Return the union of several lists of spans."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(span for each in spans for span in each):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


def _units(text: str, pattern: str = _UNIT) -> list[str]:
    return _pattern(pattern).findall(text)  # type: ignore[no-any-return]


@cache
def _pattern(pattern: str) -> Any:
    import regex

    return regex.compile(pattern, regex.VERSION1)
