"""A Markdown text as rows of a terminal."""

from __future__ import annotations

from typing import ClassVar

from textual.geometry import Offset
from textual.selection import Selection

from chatui.tui.markdown.markdown_rows import MarkdownRows
from chatui.tui.wrapped_text import WrappedText, shown_text


class MarkdownText(WrappedText):
    """A Markdown text as rows.

    Each finished line is parsed once. Only the last one is parsed again as it grows, and a table is
    laid out again if a column widens, so the cost of a token does not depend on the length.
    """

    CHUNK_CHARACTERS: ClassVar[int] = 2_000
    """Characters read at once, in about ten milliseconds."""

    def __init__(self, text: str = "", width: int = 80, *, is_complete: bool = True) -> None:
        super().__init__(text, width, is_complete=is_complete)

    @property
    def _rows(self) -> MarkdownRows:
        rows = super()._rows
        assert isinstance(rows, MarkdownRows)
        return rows

    def _new_rows(self) -> MarkdownRows:
        return MarkdownRows(self._width)

    @property
    def text(self) -> str:
        return shown_text(self.rows)

    def code_at(self, paragraph: int) -> str:
        """Return the code below a paragraph that is a code head; "" for other paragraphs."""
        return "\n".join(self._rows.codes.get(paragraph, ()))

    @property
    def last_code(self) -> str:
        """The last block of code; "" without any."""
        codes = self._rows.codes
        while self.has_unread:
            self.read_more()
        return self.code_at(max(codes)) if codes else ""

    def selected(self, selection: Selection) -> str:
        """Return the selected text: Markdown for whole lines, shown text for parts of a line."""
        lines = self.text.split("\n")
        last = len(lines) - 1
        start = selection.start or Offset(0, 0)
        end = selection.end or Offset(len(lines[-1]), last)
        if end.y > last:
            end = Offset(len(lines[-1]), last)
        if start.y == end.y and (start.x or end.x < len(lines[end.y])):
            return lines[start.y][start.x : end.x]
        chosen = [lines[start.y][start.x :]] if start.x else []
        first_whole = start.y + bool(start.x)
        stops = end.x < len(lines[end.y])
        last_whole = end.y - stops
        if first_whole <= last_whole:
            numbers, source = self._rows.sources, self.source.split("\n")
            stop = len(source) if last_whole == last else numbers[last_whole] + 1
            chosen += source[numbers[first_whole] if first_whole else 0 : stop]
        return "\n".join([*chosen, lines[end.y][: end.x]] if stops else chosen)
