"""Lay out tables: columns by display width, or one line per cell on a narrow terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from rich.cells import cell_len

from chatui.tui.markdown.inline import read_inline
from chatui.tui.markdown.lines import Alignment, MarkdownLine
from chatui.tui.wrapping import Prefix, Span, cut_spans, row_starts

GAP = 2
"""Cells between two columns."""

MIN_COLUMN_CELLS = 6
"""Minimum width of a column; below it each cell is on a line of its own."""

Cell = tuple[str, tuple[Span, ...]]


class MarkdownTable:
    """A table that grows by rows and whose columns widen with their content."""

    def __init__(
        self, head: Sequence[str], alignments: Sequence[Alignment], prefix: Prefix, width: int
    ) -> None:
        """
        Args:
            width: width without the prefix, in cells.
        """
        self._head = [read_inline(cell) for cell in head]
        self._alignments = alignments
        self._prefix = prefix
        self._width = max(1, width)
        self._natural = self._before = [0] * len(head)
        self._columns: list[int] = []
        self._rows: list[list[Cell]] = []
        self._widen(self._head)

    def add(self, cells: Sequence[str]) -> bool:
        """Add a row; return True if columns changed, so that all rows must be laid out again."""
        row = [read_inline(cell) for cell in cells]
        self._before = self._natural
        self._rows.append(row)
        return self._widen(row)

    def remove_last(self) -> None:
        """Remove the last row and restore the columns."""
        self._rows.pop()
        self._natural = self._before

    def head(self) -> Iterator[MarkdownLine]:
        """Yield the head and the rule below it; nothing if the table is folded."""
        if self._columns:
            yield from self._row(self._head, "table-head")
            rules = ["─" * width for width in self._columns]
            yield self._line((" " * GAP).join(rules), (), "rule")

    def row(self, index: int) -> Iterator[MarkdownLine]:
        """Return the lines of a row; -1 is the last one."""
        row = self._rows[index]
        if self._columns:
            return self._row(row, "")
        return self._folded(row, is_first=index in (0, -len(self._rows)))

    def _widen(self, row: Sequence[Cell]) -> bool:
        widths = [min(cell_len(text), self._width) for text, _ in row]
        self._natural = [max(pair) for pair in zip(self._natural, widths, strict=True)]
        columns = _column_widths(self._natural, self._width - GAP * (len(row) - 1))
        changed = columns != self._columns
        self._columns = columns
        return changed

    def _row(self, cells: Sequence[Cell], style: str) -> Iterator[MarkdownLine]:
        """Yield the lines of a row with its cells side by side."""
        wrapped = [
            list(_wrap(cell, width)) for cell, width in zip(cells, self._columns, strict=True)
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
        for (name, _), (text, spans) in zip(self._head, cells, strict=True):
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


def _wrap(cell: Cell, width: int) -> Iterator[Cell]:
    text, spans = cell
    for start, end in pairwise([0, *row_starts(text, max(1, width)), len(text)]):
        yield text[start:end].rstrip(), cut_spans(spans, start, end)
