"""Break paragraphs into rows of a terminal.

Latin words are kept whole and Chinese breaks between any two characters, except that no row begins
with a closing mark or ends with an opening one (GB/T 15834).
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
    """True if a row may end after ``before`` and the next begin with ``after``."""
    if after.isspace() or after in _NOT_FIRST:
        return False
    if before.isspace():
        return True
    if before in _NOT_LAST:
        return False
    return wide_before or wide_after


def row_starts(paragraph: str, width: int) -> list[int]:
    """Return the indices at which the second and later rows of a paragraph begin.

    Args:
        paragraph: text without newlines.
        width: width of a row in cells; less than 1 counts as 1.
    """
    width = max(1, width)
    if len(paragraph) * 2 <= width and "\t" not in paragraph:
        return []
    starts: list[int] = []
    row_start = 0
    cells = 0
    last_break = 0
    cells_at_break = 0
    before, wide_before = "", False
    for start, end, grapheme_cells in split_graphemes(paragraph)[0]:
        after = paragraph[start:end]
        size = TAB_CELLS - cells % TAB_CELLS if after == "\t" else grapheme_cells
        if start > row_start and _may_break(before[-1:], wide_before, after[:1], size == 2):
            last_break, cells_at_break = start, cells
        while cells + size > width and start > row_start and not after.isspace():
            if last_break > row_start:
                row_start, cells = last_break, cells - cells_at_break
            else:
                row_start, cells = start, 0
            starts.append(row_start)
        cells += size
        before, wide_before = after, size == 2
    return starts


def estimated_rows(text: str, width: int) -> int:
    """Return the approximate number of rows of a text, hundreds of times faster than wrapping."""
    # A Chinese character has three bytes in UTF-8 and two cells.
    cells = (len(text) + len(text.encode(errors="surrogatepass"))) // 2
    return text.count("\n") + 1 + cells // max(1, width)


class Span(NamedTuple):
    """A styled part of a text; ``style`` has one or more names, separated by blanks."""

    start: int
    end: int
    style: str


Prefix: TypeAlias = tuple[tuple[str, str], ...]
"""Pairs of (text, style) shown before a row; not part of its text."""


@dataclass(frozen=True)
class Row:
    """A row on the screen.

    Attributes:
        paragraph: number of the paragraph.
        start: index of ``text`` in the paragraph.
        spans: styled parts of ``text``, in order, without overlaps.
        style: style of the whole row; "" for the default.
        prefix: shown before the row.
    """

    paragraph: int
    start: int
    text: str
    spans: tuple[Span, ...] = ()
    style: str = ""
    prefix: Prefix = ()


def cut_spans(spans: Iterable[Span], start: int, end: int) -> tuple[Span, ...]:
    """Return the parts of ``spans`` between ``start`` and ``end``, relative to ``start``."""
    return tuple(
        Span(max(span.start, start) - start, min(span.end, end) - start, span.style)
        for span in spans
        if span.start < end and span.end > start
    )


def overlay_spans(spans: Sequence[Span], over: Sequence[Span]) -> tuple[Span, ...]:
    """Combine spans; overlapping parts get the styles of both."""
    found = []
    edges = sorted({edge for span in (*spans, *over) for edge in (span.start, span.end)})
    for start, end in pairwise(edges):
        names = [each.style for each in (*spans, *over) if each.start <= start and end <= each.end]
        if names:
            found.append(Span(start, end, " ".join(names)))
    return tuple(found)
