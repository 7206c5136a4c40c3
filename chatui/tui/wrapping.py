"""Paragraphs as rows of a terminal: where they break, and what a row is.

Latin words stay whole, Chinese breaks between any two characters, and the usual rules of Chinese
typesetting hold (GB/T 15834: no row begins with a closing mark or ends with an opening one).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from rich.cells import split_graphemes

TAB_CELLS = 4

_NOT_FIRST = frozenset("，。、；：？！）》」』】〕〉〗”’…—·～％‰℃,.;:?!)]}%ー々﹏")
_NOT_LAST = frozenset("（《「『【〔〈〖“‘([{￥$＄")


def _may_break(before: str, wide_before: bool, after: str, wide_after: bool) -> bool:
    """Whether a row may end after ``before`` and the next begin with ``after``."""
    if after.isspace() or after in _NOT_FIRST:
        return False
    if before.isspace():
        return True
    if before in _NOT_LAST:
        return False
    return wide_before or wide_after


def row_starts(paragraph: str, width: int) -> list[int]:
    """Indices at which the second and later rows of a paragraph begin.

    Args:
        paragraph: text without newlines.
        width: cells in a row; less than 1 counts as 1.
    """
    width = max(1, width)
    if len(paragraph) * 2 <= width and "\t" not in paragraph:
        return []
    starts: list[int] = []
    row_start = 0
    cells = 0
    chance = 0
    cells_at_chance = 0
    before, wide_before = "", False
    for start, end, grapheme_cells in split_graphemes(paragraph)[0]:
        after = paragraph[start:end]
        size = TAB_CELLS - cells % TAB_CELLS if after == "\t" else grapheme_cells
        if start > row_start and _may_break(before[-1:], wide_before, after[:1], size == 2):
            chance, cells_at_chance = start, cells
        while cells + size > width and start > row_start and not after.isspace():
            if chance > row_start:
                row_start, cells = chance, cells - cells_at_chance
            else:
                row_start, cells = start, 0
            starts.append(row_start)
        cells += size
        before, wide_before = after, size == 2
    return starts


def estimated_rows(text: str, width: int) -> int:
    """About how many rows a text takes; hundreds of times faster than to wrap it."""
    # A Chinese character has three bytes and takes two cells.
    cells = (len(text) + len(text.encode(errors="surrogatepass"))) // 2
    return text.count("\n") + 1 + cells // max(1, width)


class Span(NamedTuple):
    """A part of a text that looks different; ``style`` names how, several names with blanks."""

    start: int
    end: int
    style: str


Prefix: TypeAlias = tuple[tuple[str, str], ...]
"""What stands before a row and is no part of its text: (text, style) each."""


@dataclass(frozen=True)
class Row:
    """One row on the screen.

    Attributes:
        paragraph, start: ``text`` is the paragraph's part from index ``start`` on.
        spans: parts of ``text`` that look different, in order, none over another.
        style: how the whole row looks; "" as all text does.
        prefix: what stands before it.
    """

    paragraph: int
    start: int
    text: str
    spans: tuple[Span, ...] = ()
    style: str = ""
    prefix: Prefix = ()


def cut_spans(spans: Iterable[Span], start: int, end: int) -> tuple[Span, ...]:
    """What of ``spans`` lies from ``start`` to ``end`` of their text, counted from ``start``."""
    return tuple(
        Span(max(span.start, start) - start, min(span.end, end) - start, span.style)
        for span in spans
        if span.start < end and span.end > start
    )


def overlay_spans(spans: Sequence[Span], over: Sequence[Span]) -> tuple[Span, ...]:
    """Spans with others over them: where both are, the part has the styles of both."""
    found = []
    edges = sorted({edge for span in (*spans, *over) for edge in (span.start, span.end)})
    for start, end in pairwise(edges):
        names = [each.style for each in (*spans, *over) if each.start <= start and end <= each.end]
        if names:
            found.append(Span(start, end, " ".join(names)))
    return tuple(found)
