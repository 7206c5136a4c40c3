"""Lay out lines as rows, and tables as lines: columns by display width, or a line per cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from rich.cells import cell_len

from chatui.tui.markdown.lines import Alignment, MarkdownLine
from chatui.tui.wrapping import Prefix, Row, Span, cut_spans, row_starts

MIN_TEXT_CELLS = 8
"""Minimum width of the text after a prefix."""

GAP = 2
"""Cells between two columns."""

MIN_COLUMN_CELLS = 6
"""Minimum width of a column; below it each cell is on a line of its own."""

Cell = tuple[str, tuple[Span, ...]]


class Position(NamedTuple):
    """The number of rows and of paragraphs before a line."""

    row: int
    paragraph: int


def wrap_line(line: MarkdownLine, paragraph: int, width: int) -> Iterator[Row]:
    """Yield the rows of a line."""
    first, rest = _narrowed(line.first, width), _narrowed(line.rest, width)
    left = width - sum(cell_len(text) for text, _ in first)
    if line.kind == "rule":
        yield Row(paragraph, 0, "─" * left, (), line.style, first)
        return
    cuts = [0, *row_starts(line.text, left), len(line.text)]
    for start, end in pairwise(cuts):
        spans = cut_spans(line.spans, start, end) if line.spans else ()
        prefix = rest if start else first
        yield Row(paragraph, start, line.text[start:end], spans, line.style, prefix)


def _narrowed(prefix: Prefix, width: int) -> Prefix:
    """Return the end of a prefix, with the marker of a list, that leaves room for the text."""
    kept: list[tuple[str, str]] = []
    left = width - MIN_TEXT_CELLS
    for text, style in reversed(prefix):
        if cell_len(text) > left:
            break
        left -= cell_len(text)
        kept.append((text, style))
    return tuple(reversed(kept))


class MarkdownTable:
    """Lays out a table that grows by rows and whose columns widen with their content.

    Attributes:
        rows: the cells of each finished row, the head first, and the number of its line.
        position: position of the head.
    """

    def __init__(
        self, alignments: Sequence[Alignment], prefix: Prefix, width: int, position: Position
    ) -> None:
        """
        Args:
            width: width without the prefix, in cells.
        """
        self.rows: list[tuple[Sequence[Cell], int]] = []
        self.position = position
        self._alignments = alignments
        self._prefix = prefix
        self._width = max(1, width)
        self._natural = [0] * len(alignments)
        self._columns: list[int] = []

    def fit(self, row: Sequence[Cell], *, is_final: bool) -> bool:
        """Fit the columns to the finished rows and ``row``; return True if they have changed.

        Args:
            is_final: False if the row may become narrower.
        """
        widths = [min(cell_len(text), self._width) for text, _ in row]
        natural = [max(pair) for pair in zip(self._natural, widths, strict=True)]
        if is_final:
            self._natural = natural
        before = self._columns
        self._columns = _column_widths(natural, self._width - GAP * (len(row) - 1))
        return self._columns != before

    def lines(self, index: int, row: Sequence[Cell]) -> Iterator[MarkdownLine]:
        """Yield the lines of a row; below the head, with index 0, a rule.

        If the table is folded, each cell has a line of its own, and the head has none.
        """
        if self._columns:
            yield from self._row(row, "" if index else "table-head")
            if not index:
                rules = ["─" * width for width in self._columns]
                yield self._line((" " * GAP).join(rules), (), "rule")
        elif index:
            yield from self._folded(row, is_first=index == 1)

    def _row(self, cells: Sequence[Cell], style: str) -> Iterator[MarkdownLine]:
        """Yield the lines of a row with its cells side by side."""
        wrapped = [
            list(_wrapped_cell(cell, width))
            for cell, width in zip(cells, self._columns, strict=True)
        ]
        for number in range(max(map(len, wrapped))):
            text, spans = "", []
            for column, parts in enumerate(wrapped):
                part, part_spans = parts[number] if number < len(parts) else ("", ())
                space = self._columns[column] - cell_len(part)
                left = {"left": 0, "center": space // 2, "right": space}[self._alignments[column]]
                text += " " * left
                spans += [Span(len(text) + at, len(text) + to, name) for at, to, name in part_spans]
                text += part + " " * (space - left + GAP)
            yield self._line(text.rstrip(), tuple(spans), style)

    def _folded(self, cells: Sequence[Cell], *, is_first: bool) -> Iterator[MarkdownLine]:
        """Yield the lines of a row with one cell per line, after the head of its column."""
        if not is_first:
            yield self._line("", (), "")
        for (name, _), (text, spans) in zip(self.rows[0][0], cells, strict=True):
            before = f"{name}  " if name else ""
            shifted = [Span(at + len(before), to + len(before), how) for at, to, how in spans]
            head = (Span(0, len(before), "table-head"),) if before else ()
            yield self._line(before + text, (*head, *shifted), "")

    def _line(self, text: str, spans: tuple[Span, ...], style: str) -> MarkdownLine:
        return MarkdownLine(text, spans, style, self._prefix, self._prefix)


def _column_widths(natural: Sequence[int], width: int) -> list[int]:
    """Return column widths that fit into ``width``; [] if a column would be too narrow."""
    if sum(natural) <= width:
        return list(natural)
    left, columns = width, [0] * len(natural)
    order = sorted(range(len(natural)), key=natural.__getitem__)
    for place, column in enumerate(order):
        columns[column] = min(natural[column], left // (len(order) - place))
        left -= columns[column]
    is_narrow = any(
        column < min(MIN_COLUMN_CELLS, wanted)
        for column, wanted in zip(columns, natural, strict=True)
    )
    return [] if is_narrow else columns


def _wrapped_cell(cell: Cell, width: int) -> Iterator[Cell]:
    text, spans = cell
    for start, end in pairwise([0, *row_starts(text, max(1, width)), len(text)]):
        yield text[start:end].rstrip(), cut_spans(spans, start, end)
