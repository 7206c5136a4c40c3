"""A reply's Markdown as rows of a terminal."""

from __future__ import annotations

from textual.geometry import Offset
from textual.selection import Selection

from chatui.tui.markdown.growing_rows import GrowingRows
from chatui.tui.wrapping import Row, estimated_rows, shown_text

READ_AT_ONCE = 2_000
"""Characters: about ten milliseconds, for which the screen may stand still."""


class MarkdownText:
    """As :class:`~chatui.tui.wrapping.WrappedText`: rows of a given width, for Markdown.

    A line that is over is read once. The last one is read again as it grows, and a table's rows
    are made again where a column gets wider; so a token costs the same at any length.
    """

    def __init__(self, text: str = "", width: int = 80, *, is_whole: bool = True) -> None:
        """
        Args:
            is_whole: whether the text does not go on.
        """
        self._width = max(1, width)
        self._pieces = [text]
        self._is_whole = is_whole
        self._made: GrowingRows | None = None
        self._unread = ""

    @property
    def width(self) -> int:
        """Cells in a row."""
        return self._width

    @property
    def rows(self) -> list[Row]:
        """The rows of what was read, one at least; of a long text that is its beginning."""
        return self._rows.rows or [Row(0, 0, "")]

    @property
    def _rows(self) -> GrowingRows:
        """Made when it is first asked for: most widths are known later than the text."""
        if self._made is None:
            self._made, self._unread = GrowingRows(self._width), self.source
            self._read(self._made)
        return self._made

    @property
    def has_unread(self) -> bool:
        """Whether a long text goes on behind the rows."""
        return bool(self._unread)

    @property
    def unread_rows(self) -> int:
        """About how many rows the text takes that is not read yet."""
        return estimated_rows(self._unread, self._width) if self._unread else 0

    def read_on(self) -> None:
        """Read the next part of a long text."""
        self._read(self._rows)

    def _read(self, rows: GrowingRows) -> None:
        part, self._unread = self._unread[:READ_AT_ONCE], self._unread[READ_AT_ONCE:]
        rows.read(part)
        if self._is_whole and not self._unread:
            rows.finish()

    @property
    def source(self) -> str:
        """The Markdown."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    @property
    def text(self) -> str:
        """What is shown, a line for each paragraph."""
        return shown_text(self.rows)

    @property
    def text_began(self) -> bool:
        """Whether there is anything to show."""
        return any(piece and not piece.isspace() for piece in self._pieces)

    def append(self, text: str) -> int:
        """Add ``text`` at the end; the index of the first row that changed."""
        self._pieces.append(text)
        if self._is_whole:
            self._is_whole, self._made = False, None
        if self._made is None:
            return 0
        if self._unread:
            self._unread += text
            return len(self._made.rows)
        return self._made.read(text)

    def strip_end(self) -> None:
        """The text has ended; white space at its end goes, rows before it stay."""
        self._pieces = [self.source.rstrip()]
        self._is_whole = True
        self._unread = self._unread.rstrip()
        if self._made is not None and not self._unread:
            self._made.finish()

    def rewrap(self, width: int) -> None:
        """Make the rows again for another width."""
        self._width, self._made, self._unread = max(1, width), None, ""

    def code_at(self, paragraph: int) -> str:
        """The code whose head is a paragraph; "" for other paragraphs."""
        return "\n".join(self._rows.codes.get(paragraph, ()))

    @property
    def last_code(self) -> str:
        """The last block of code; "" without one."""
        codes = self._rows.codes
        while self.has_unread:
            self.read_on()
        return self.code_at(max(codes)) if codes else ""

    def selected(self, selection: Selection) -> str:
        """What a selection takes: the Markdown of whole lines, what is shown of parts of one."""
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
