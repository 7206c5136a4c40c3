"""Rows of growing Markdown: each finished line is parsed once, the last one again as it grows."""

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

PART_CHARACTERS = 600
"""Length of the parts in which a very long line is parsed, so that each update is fast."""

MIN_TEXT_CELLS = 8
"""Minimum width of the text after a prefix."""

_SENTENCE_ENDS = "。！？；，.!?;, "


@dataclass
class _TableHead:
    """The last line, if it may be the head of a table, and its position."""

    source: str
    shown: ParsedLine
    cells: tuple[str, ...]
    row: int
    paragraph: int
    number: int


@dataclass
class _CurrentTable:
    """An open table, its position, and the number of the line of each row."""

    table: MarkdownTable
    row: int
    paragraph: int
    numbers: list[int]
    has_unfinished: bool = False


class MarkdownRows:
    """The rows of a Markdown text at a given width.

    Attributes:
        rows: rows from top to bottom.
        sources: number of the line in the Markdown, for each paragraph of the rows.
        codes: paragraph of the head of a block of code -> lines of the code.
    """

    def __init__(self, width: int) -> None:
        self.rows: list[Row] = []
        self.sources: list[int] = []
        self.codes: dict[int, list[str]] = {}
        self._width = width
        self._state = LineState()
        self._line = ""
        self._number = 0
        self._final_rows = self._final_paragraphs = 0
        self._changed = 0
        self._continued_row: Row | None = None
        self._head: _TableHead | None = None
        self._table: _CurrentTable | None = None
        self._code: list[str] = []

    def read(self, text: str) -> int:
        """Append text; return the index of the first changed row."""
        self._changed = self._final_rows
        *over, self._line = (self._line + text).split("\n")
        for line in over:
            self._write_final(self._write_long_line(line))
            self._continued_row = None
            self._number += 1
        self._line = self._write_long_line(self._line)
        self._remove_unfinished()
        if self._line:
            shown, state = self._read_part(self._line, is_complete=False)
            self._write(self._line, shown, state, is_final=False)
        return self._changed

    def finish(self) -> None:
        """End the text and remove empty rows at its end."""
        if self._line:
            self._write_final(self._line.rstrip())
            self._line = ""
        self._reject_head()
        while self.rows and not self.rows[-1].text.strip() and self.rows[-1].style != "code-head":
            self.rows.pop()
            self.sources.pop()

    def _write_long_line(self, line: str) -> str:
        """Write the first parts of a very long line; return the rest."""
        while len(line) > 2 * PART_CHARACTERS:
            cut = _part_end(line)
            self._write_final(line[:cut])
            line = line[cut:]
            if self.rows:
                self._continued_row = self.rows[-1]
                self._final_rows = len(self.rows) - 1
        return line

    def _write_final(self, part: str) -> None:
        """Write a line, or a part of one, that will not change."""
        self._remove_unfinished()
        shown, state = self._read_part(part, is_complete=True)
        self._write(part, shown, state, is_final=True)
        self._state = state
        self._final_rows, self._final_paragraphs = len(self.rows), len(self.sources)

    def _read_part(self, part: str, *, is_complete: bool) -> tuple[ParsedLine, LineState]:
        if self._continued_row is None:
            return read_line(part, self._state, is_complete=is_complete)
        text, spans = (part, ()) if self._continued_row.style == "code" else read_inline(part)
        return MarkdownLine(text, spans), self._state

    def _remove_unfinished(self) -> None:
        del self.rows[self._final_rows :]
        del self.sources[self._final_paragraphs :]
        if self._continued_row is not None:
            self.rows.append(self._continued_row)
        if self._table is not None and self._table.has_unfinished:
            self._table.table.remove_last()
            self._table.numbers.pop()
            self._table.has_unfinished = False

    def _write(self, part: str, shown: ParsedLine, state: LineState, *, is_final: bool) -> None:
        """Write a line, or the beginning of an unfinished one."""
        in_table = isinstance(shown, TableRow) and state.in_table
        if isinstance(shown, TableRow) and shown.alignments and self._head is not None:
            self._begin_table(self._head, shown)
            return
        if shown is not None or is_final:
            self._reject_head()
        if is_final and not in_table:
            self._table = None
        if is_final and state.head and not in_table:
            place = len(self.rows), len(self.sources)
            self._head = _TableHead(part, shown, state.head, *place, self._number)
        if isinstance(shown, TableRow) and in_table and self._table is not None:
            self._add_to_table(self._table, shown, is_final)
        elif isinstance(shown, TableRow):
            self._append(_head_line(shown), self._number)
        elif shown is not None and self._continued_row is not None:
            self._append_to(self.rows.pop(), shown)
            if is_final and state.fence is not None and self._code:
                self._code[-1] += shown.text
        elif shown is not None:
            self._append(shown, self._number)
            if is_final and shown.kind == "code head":
                self._code = self.codes[len(self.sources) - 1] = []
            elif is_final and state.fence is not None:
                self._code.append(shown.text)

    def _append(self, line: MarkdownLine, number: int) -> None:
        is_empty = not (line.text or line.first or line.style)
        if is_empty and (not self.rows or _is_blank(self.rows[-1])):
            return
        self.rows += _wrap(line, len(self.sources), self._width)
        self.sources.append(number)

    def _append_to(self, last: Row, line: MarkdownLine) -> None:
        """Continue the last row with the text of ``line``."""
        shift = len(last.text)
        spans = (*last.spans, *(Span(at + shift, to + shift, how) for at, to, how in line.spans))
        whole = MarkdownLine(last.text + line.text, spans, last.style, last.prefix, last.prefix)
        for row in _wrap(whole, last.paragraph, self._width):
            self.rows.append(replace(row, start=row.start + last.start))

    def _reject_head(self) -> None:
        """Write the last line as text, because no table follows it."""
        head, self._head = self._head, None
        if head is None or not isinstance(head.shown, TableRow):
            return
        self._truncate(head.row, head.paragraph)
        self._append(as_text(head.source, head.shown.prefix), head.number)
        self._final_rows, self._final_paragraphs = len(self.rows), len(self.sources)

    def _begin_table(self, head: _TableHead, delimiters: TableRow) -> None:
        self._head = None
        prefix = head.shown.prefix if isinstance(head.shown, TableRow) else delimiters.prefix
        width = self._width - sum(cell_len(text) for text, _ in prefix)
        table = MarkdownTable(head.cells, delimiters.alignments, prefix, width)
        self._table = _CurrentTable(table, head.row, head.paragraph, [head.number, self._number])
        self._write_table(self._table)

    def _add_to_table(self, table: _CurrentTable, row: TableRow, is_final: bool) -> None:
        columns_changed = table.table.add(row.cells)
        table.numbers.append(self._number)
        table.has_unfinished = not is_final
        if columns_changed:
            self._write_table(table)
        for line in table.table.row(-1):
            self._append(line, self._number)

    def _write_table(self, table: _CurrentTable) -> None:
        """Write the head and all rows except the last, which the caller adds."""
        self._truncate(table.row, table.paragraph)
        for line, number in zip(table.table.head(), table.numbers, strict=False):
            self._append(line, number)
        for index, number in enumerate(table.numbers[2:-1]):
            for line in table.table.row(index):
                self._append(line, number)
        self._final_rows, self._final_paragraphs = len(self.rows), len(self.sources)

    def _truncate(self, row: int, paragraph: int) -> None:
        del self.rows[row:]
        del self.sources[paragraph:]
        self._changed = min(self._changed, row)


def _head_line(row: TableRow) -> MarkdownLine:
    """Return a row that may become the head of a table, as one line."""
    text = "  ".join(read_inline(cell)[0] for cell in row.cells)
    return MarkdownLine(text, (), "table-head", row.prefix, row.prefix)


def _part_end(line: str) -> int:
    """Return the end of the first part of a long line: after a sentence, if possible."""
    ends = (line.rfind(mark, PART_CHARACTERS // 2, PART_CHARACTERS) for mark in _SENTENCE_ENDS)
    return max(ends) + 1 or PART_CHARACTERS


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
    """Return the end of a prefix, with the marker of a list, that leaves room for the text."""
    kept: list[tuple[str, str]] = []
    left = width - MIN_TEXT_CELLS
    for text, style in reversed(prefix):
        if cell_len(text) > left:
            break
        left -= cell_len(text)
        kept.append((text, style))
    return tuple(reversed(kept))
