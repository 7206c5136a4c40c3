"""A growing Markdown text as rows: each finished line is parsed once, the last one as it grows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from textual.geometry import Offset
from textual.selection import Selection

from chatui.tui.markdown.inline import read_inline
from chatui.tui.markdown.lines import Alignment, LineState, MarkdownLine, TableRow, read_line
from chatui.tui.markdown.markdown_layout import Cell, MarkdownTable, Position, wrap_line
from chatui.tui.wrapped_text import WrappedText, shown_text
from chatui.tui.wrapping import Row, Span

PART_CHARACTERS = 600
"""Length of the parts in which a very long line is parsed, so that each update is fast."""

_SENTENCE_ENDS = "。！？；，.!?;, "


class _Head(NamedTuple):
    """The last line, if it may be the head of a table: as text, its position and number."""

    line: MarkdownLine
    position: Position
    number: int


class MarkdownText(WrappedText):
    """A Markdown text as rows.

    Each finished line is parsed once. Only the last one is parsed again as it grows, and a table is
    laid out again if a column widens, so the cost of a token does not depend on the length.
    """

    CHUNK_CHARACTERS: ClassVar[int] = 2_000
    """Characters read at once, in about ten milliseconds."""

    IS_MARKDOWN: ClassVar[bool] = True

    def __init__(self, text: str = "", width: int = 80, *, is_complete: bool = True) -> None:
        super().__init__(text, width, is_complete=is_complete)

    @property
    def text(self) -> str:
        return shown_text(self.rows)

    def code_at(self, paragraph: int) -> str:
        """Return the code below a paragraph that is a code head; "" for other paragraphs."""
        return "\n".join(self._codes.get(paragraph, ())) if self.rows else ""

    @property
    def last_code(self) -> str:
        """The last block of code; "" without any."""
        _ = self.rows
        while self.has_unread:
            self.read_more()
        return self.code_at(max(self._codes, default=-1))

    def selected(self, selection: Selection) -> str:
        """Return the selected text: Markdown for whole lines, shown text for parts of a line."""
        lines = self.text.split("\n")
        start, last = selection.start or Offset(0, 0), len(lines) - 1
        end = selection.end
        if end is None or end.y > last:
            end = Offset(len(lines[-1]), last)
        if start.y == end.y and (start.x or end.x < len(lines[end.y])):
            return lines[start.y][start.x : end.x]
        chosen = [lines[start.y][start.x :]] if start.x else []
        first_whole = start.y + bool(start.x)
        stops = end.x < len(lines[end.y])
        last_whole = end.y - stops
        if first_whole <= last_whole:
            numbers, source = self._numbers, self.source.split("\n")
            stop = len(source) if last_whole == last else numbers[last_whole] + 1
            chosen += source[numbers[first_whole] if first_whole else 0 : stop]
        return "\n".join([*chosen, lines[end.y][: end.x]] if stops else chosen)

    def _begin(self) -> None:
        self._numbers: list[int] = []  # The number of the line in the Markdown, by paragraph.
        self._codes: dict[int, list[str]] = {}  # The lines of code, by the paragraph of their head.
        self._code: list[str] = []
        self._state = LineState()
        self._line, self._number = "", 0
        self._final = Position(0, 0)
        self._changed = 0
        self._continued: Row | None = None
        self._head: _Head | None = None
        self._table: MarkdownTable | None = None
        super()._begin()

    def _read(self, text: str) -> int:
        self._changed = self._final.row
        *finished, self._line = (self._line + text).split("\n")
        for line in finished:
            self._write(self._write_long_line(line), is_final=True)
            self._continued = None
            self._number += 1
        self._line = self._write_long_line(self._line)
        self._write(self._line, is_final=False)
        return self._changed

    def _finish(self) -> None:
        if self._line:
            self._write(self._line.rstrip(), is_final=True)
            self._line = ""
        self._reject_head()
        rows = self._rows
        while rows and not rows[-1].text.strip() and rows[-1].style != "code-head":
            rows.pop()
            self._numbers.pop()

    def _write_long_line(self, line: str) -> str:
        """Write the first parts of a very long line; return the rest."""
        while len(line) > 2 * PART_CHARACTERS:
            cut = _part_end(line)
            self._end_table()
            self._write(line[:cut], is_final=True)
            self._end_table()
            line = line[cut:]
            if self._rows:
                # The next part continues this row.
                self._continued = self._rows.pop()
                self._final = self._end
        return line

    @property
    def _end(self) -> Position:
        return Position(len(self._rows), len(self._numbers))

    def _write(self, part: str, *, is_final: bool) -> None:
        """Write a line or a part of one, in place of the unfinished line before.

        Args:
            is_final: False for the beginning of a line that may grow.
        """
        self._truncate(self._final)
        if self._continued is not None:
            self._continue(self._continued, part, is_final)
        elif part or is_final:
            self._write_line(part, is_final)
        if is_final:
            self._final = self._end

    def _write_line(self, part: str, is_final: bool) -> None:
        shown, state = read_line(part, self._state, is_complete=is_final)
        table = self._table
        if isinstance(shown, TableRow):
            table = table or self._begin_table(shown.alignments)
            if shown.cells:
                self._write_row(table, shown.cells, self._number, is_final)
        else:
            self._narrow_columns()
            if is_final or (shown is not None and shown.text.strip()):
                self._reject_head()
            if shown is not None:
                self._write_text(shown, state, is_final)
        if is_final:
            self._state, self._table = state, table if state.in_table else None

    def _write_text(self, line: MarkdownLine, state: LineState, is_final: bool) -> None:
        position, is_head_like = self._end, bool(state.head) and line.text.lstrip()[:1] == "|"
        if is_head_like:
            cells = "  ".join(read_inline(cell)[0] for cell in state.head)
            self._append(replace(line, text=cells, spans=(), style="table-head"), self._number)
        else:
            self._append(line, self._number)
        if not is_final:
            return
        if state.head:
            self._head = _Head(line, position, self._number)
        elif line.kind == "code head":
            self._code = self._codes[len(self._numbers) - 1] = []
        elif state.fence is not None:
            self._code.append(line.text)

    def _continue(self, last: Row, part: str, is_final: bool) -> None:
        """Write a part of a long line after the last row of the part before."""
        is_code = last.style == "code"
        text, spans = (part, ()) if is_code else read_inline(part)
        shift = len(last.text)
        spans = tuple(Span(at + shift, to + shift, how) for at, to, how in spans)
        prefix = last.prefix
        line = MarkdownLine(last.text + text, last.spans + spans, last.style, prefix, prefix)
        for row in wrap_line(line, last.paragraph, self._width):
            self._rows.append(replace(row, start=row.start + last.start))
        if is_code and is_final and self._code:
            self._code[-1] += text

    def _append(self, line: MarkdownLine, number: int) -> None:
        is_empty = not (line.text or line.first or line.style)
        if is_empty and (not self._rows or _is_blank(self._rows[-1])):
            return
        self._rows += wrap_line(line, len(self._numbers), self._width)
        self._numbers.append(number)

    def _reject_head(self) -> None:
        """Write the last line as text, because no table follows it."""
        head, self._head = self._head, None
        if head is not None:
            self._state = replace(self._state, head=())
            self._truncate(head.position)
            self._append(head.line, head.number)
            self._final = self._end

    def _begin_table(self, alignments: Sequence[Alignment]) -> MarkdownTable:
        """Write the last line as the head of a table."""
        head, self._head = self._head, None
        assert head is not None
        prefix = head.line.first
        width = self._width - sum(cell_len(text) for text, _ in prefix)
        table = MarkdownTable(alignments, prefix, width, head.position)
        self._truncate(head.position)
        self._write_row(table, self._state.head, head.number, is_final=True)
        return table

    def _write_row(
        self, table: MarkdownTable, cells: Sequence[str], number: int, is_final: bool
    ) -> None:
        """Write the next row of a table."""
        row = [read_inline(cell) for cell in cells]
        self._fit_columns(table, row, is_final)
        rows = table.rows
        self._append_row(table.lines(len(rows), row), number)
        if is_final:
            rows.append((row, number))

    def _fit_columns(self, table: MarkdownTable, row: Sequence[Cell], is_final: bool) -> None:
        """Write all finished rows of a table again if the columns change with another row."""
        if table.fit(row, is_final=is_final):
            self._truncate(table.position)
            for index, (earlier, number) in enumerate(table.rows):
                self._append_row(table.lines(index, earlier), number)
            self._final = self._end

    def _narrow_columns(self) -> None:
        """Undo what an unfinished row that is none has widened."""
        if self._table is not None:
            self._fit_columns(self._table, self._table.rows[0][0], True)

    def _end_table(self) -> None:
        """Let the next line neither begin nor continue a table."""
        self._narrow_columns()
        self._reject_head()
        self._table, self._state = None, replace(self._state, head=(), in_table=False)

    def _append_row(self, lines: Iterable[MarkdownLine], number: int) -> None:
        for line in lines:
            # The rule below the head is the next line of the Markdown.
            self._append(line, number + (line.style == "rule"))

    def _truncate(self, position: Position) -> None:
        del self._rows[position.row :]
        del self._numbers[position.paragraph :]
        self._changed = min(self._changed, position.row)


def _part_end(line: str) -> int:
    """Return the end of the first part of a long line: after a sentence, if possible."""
    ends = (line.rfind(mark, PART_CHARACTERS // 2, PART_CHARACTERS) for mark in _SENTENCE_ENDS)
    return max(ends) + 1 or PART_CHARACTERS


def _is_blank(row: Row) -> bool:
    return not (row.text or row.prefix or row.style)
