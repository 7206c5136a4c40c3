"""Markdown as rows that grow at their end: a line that is over is read once, the last one anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from rich.cells import cell_len

from chatui.tui.markdown.inline import read_inline
from chatui.tui.markdown.lines import (
    LineState,
    MarkdownLine,
    ParsedLine,
    TableRow,
    as_text,
    read_line,
)
from chatui.tui.markdown.markdown_tables import MarkdownTable
from chatui.tui.wrapping import Prefix, Row, Span, cut_spans, row_starts

LONGEST_PART = 600
"""A longer line is read in parts of about so many characters, so that its end costs no more."""

NARROWEST = 8
"""So many cells are left for text, whatever stands before it."""

_SENTENCE_ENDS = "。！？；，.!?;, "


@dataclass
class _TableHead:
    """The last line, where it may be the head of a table: what it is and where it stands."""

    source: str
    shown: ParsedLine
    cells: tuple[str, ...]
    row: int
    paragraph: int
    number: int


@dataclass
class _CurrentTable:
    """A table that goes on, where it begins, and the number of each row's line."""

    table: MarkdownTable
    row: int
    paragraph: int
    numbers: list[int]
    has_unfinished: bool = False


class MarkdownRows:
    """The rows of a Markdown text of a given width.

    Attributes:
        rows: from top to bottom.
        sources: for each paragraph of the rows, the number of its line in the Markdown.
        codes: the lines of each block of code, by the paragraph of its head.
    """

    def __init__(self, width: int) -> None:
        self.rows: list[Row] = []
        self.sources: list[int] = []
        self.codes: dict[int, list[str]] = {}
        self._width = width
        self._state = LineState()
        self._line = ""
        self._number = 0
        self._settled_rows = self._settled_paragraphs = 0
        self._changed = 0
        self._joint: Row | None = None
        self._head: _TableHead | None = None
        self._table: _CurrentTable | None = None
        self._code: list[str] = []

    def read(self, text: str) -> int:
        """Read what comes next; the index of the first row that changed."""
        self._changed = self._settled_rows
        *over, self._line = (self._line + text).split("\n")
        for line in over:
            self._settle(self._settle_parts(line))
            self._joint = None
            self._number += 1
        self._line = self._settle_parts(self._line)
        self._forget_unfinished()
        if self._line:
            shown, state = self._read_part(self._line, is_complete=False)
            self._show(self._line, shown, state, is_over=False)
        return self._changed

    def finish(self) -> None:
        """The text is over; empty lines at its end go."""
        if self._line:
            self._settle(self._line.rstrip())
            self._line = ""
        self._give_up_head()
        while self.rows and not self.rows[-1].text.strip() and self.rows[-1].style != "code-head":
            self.rows.pop()
            self.sources.pop()

    # Lines

    def _settle_parts(self, line: str) -> str:
        """Settle the beginning of a very long line; what is left of it."""
        while len(line) > 2 * LONGEST_PART:
            cut = _cut(line)
            self._settle(line[:cut])
            line = line[cut:]
            if self.rows:
                self._joint = self.rows[-1]
                self._settled_rows = len(self.rows) - 1
        return line

    def _settle(self, part: str) -> None:
        """Show what will not change any more."""
        self._forget_unfinished()
        shown, state = self._read_part(part, is_complete=True)
        self._show(part, shown, state, is_over=True)
        self._state = state
        self._settled_rows, self._settled_paragraphs = len(self.rows), len(self.sources)

    def _read_part(self, part: str, *, is_complete: bool) -> tuple[ParsedLine, LineState]:
        if self._joint is None:
            return read_line(part, self._state, is_complete=is_complete)
        text, spans = (part, ()) if self._joint.style == "code" else read_inline(part)
        return MarkdownLine(text, spans), self._state

    def _forget_unfinished(self) -> None:
        del self.rows[self._settled_rows :]
        del self.sources[self._settled_paragraphs :]
        if self._joint is not None:
            self.rows.append(self._joint)
        if self._table is not None and self._table.has_unfinished:
            self._table.table.remove_last()
            self._table.numbers.pop()
            self._table.has_unfinished = False

    def _show(self, part: str, shown: ParsedLine, state: LineState, *, is_over: bool) -> None:
        """Show a line, or the beginning of one that is not over."""
        in_table = isinstance(shown, TableRow) and state.in_table
        if isinstance(shown, TableRow) and shown.alignments and self._head is not None:
            self._begin_table(self._head, shown)
            return
        if shown is not None or is_over:
            self._give_up_head()
        if is_over and not in_table:
            self._table = None
        if is_over and state.head and not in_table:
            place = len(self.rows), len(self.sources)
            self._head = _TableHead(part, shown, state.head, *place, self._number)
        if isinstance(shown, TableRow) and in_table and self._table is not None:
            self._add_to_table(self._table, shown, is_over)
        elif isinstance(shown, TableRow):
            self._append(_head_line(shown), self._number)
        elif shown is not None and self._joint is not None:
            self._append_to(self.rows.pop(), shown)
            if is_over and state.fence is not None and self._code:
                self._code[-1] += shown.text
        elif shown is not None:
            self._append(shown, self._number)
            if is_over and shown.kind == "code head":
                self._code = self.codes[len(self.sources) - 1] = []
            elif is_over and state.fence is not None:
                self._code.append(shown.text)

    def _append(self, line: MarkdownLine, number: int) -> None:
        is_empty = not (line.text or line.first or line.style)
        if is_empty and (not self.rows or _is_blank(self.rows[-1])):
            return
        self.rows += _wrap(line, len(self.sources), self._width)
        self.sources.append(number)

    def _append_to(self, last: Row, line: MarkdownLine) -> None:
        """Go on with a row that was the last one so far."""
        shift = len(last.text)
        spans = (*last.spans, *(Span(at + shift, to + shift, how) for at, to, how in line.spans))
        whole = MarkdownLine(last.text + line.text, spans, last.style, last.prefix, last.prefix)
        for row in _wrap(whole, last.paragraph, self._width):
            self.rows.append(replace(row, start=row.start + last.start))

    # Tables

    def _give_up_head(self) -> None:
        """The last line is no head of a table: one that looked like it is text after all."""
        head, self._head = self._head, None
        if head is None or not isinstance(head.shown, TableRow):
            return
        self._cut(head.row, head.paragraph)
        self._append(as_text(head.source, head.shown.prefix), head.number)
        self._settled_rows, self._settled_paragraphs = len(self.rows), len(self.sources)

    def _begin_table(self, head: _TableHead, delimiters: TableRow) -> None:
        self._head = None
        prefix = head.shown.prefix if isinstance(head.shown, TableRow) else delimiters.prefix
        width = self._width - sum(cell_len(text) for text, _ in prefix)
        table = MarkdownTable(head.cells, delimiters.alignments, prefix, width)
        self._table = _CurrentTable(table, head.row, head.paragraph, [head.number, self._number])
        self._write_table(self._table)

    def _add_to_table(self, table: _CurrentTable, row: TableRow, is_over: bool) -> None:
        columns_changed = table.table.add(row.cells)
        table.numbers.append(self._number)
        table.has_unfinished = not is_over
        if columns_changed:
            self._write_table(table)
        for line in table.table.row(-1):
            self._append(line, self._number)

    def _write_table(self, table: _CurrentTable) -> None:
        """Write the head and all rows but one that is being added."""
        self._cut(table.row, table.paragraph)
        for line, number in zip(table.table.head(), table.numbers, strict=False):
            self._append(line, number)
        for index, number in enumerate(table.numbers[2:-1] if len(table.numbers) > 2 else ()):
            for line in table.table.row(index):
                self._append(line, number)
        self._settled_rows, self._settled_paragraphs = len(self.rows), len(self.sources)

    def _cut(self, row: int, paragraph: int) -> None:
        del self.rows[row:]
        del self.sources[paragraph:]
        self._changed = min(self._changed, row)


def _head_line(row: TableRow) -> MarkdownLine:
    """How a row stands until the next line says whether it is the head of a table."""
    text = "  ".join(read_inline(cell)[0] for cell in row.cells)
    return MarkdownLine(text, (), "table-head", row.prefix, row.prefix)


def _cut(line: str) -> int:
    """Where the first part of a long line ends: behind a sentence, if one ends near there."""
    ends = (line.rfind(mark, LONGEST_PART // 2, LONGEST_PART) for mark in _SENTENCE_ENDS)
    return max(ends) + 1 or LONGEST_PART


def _is_blank(row: Row) -> bool:
    return not (row.text or row.prefix or row.style)


def _wrap(line: MarkdownLine, paragraph: int, width: int) -> Iterator[Row]:
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
    """As much of a prefix as leaves room for text; its end, where the marker of a list stands."""
    kept: list[tuple[str, str]] = []
    left = width - NARROWEST
    for text, style in reversed(prefix):
        if cell_len(text) > left:
            break
        left -= cell_len(text)
        kept.append((text, style))
    return tuple(reversed(kept))
