"""A text as rows of a given width, which grow at their end."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import ClassVar, Protocol

from textual.geometry import Offset
from textual.selection import Selection

from chatui.tui.wrapping import Row, estimated_rows, row_starts


class GrowingRows(Protocol):
    """Makes rows of a given width.

    Attributes:
        rows: those of what was read, from top to bottom.
    """

    rows: list[Row]

    def read(self, text: str) -> int:
        """Read what comes next; the index of the first row that changed."""

    def finish(self) -> None:
        """The text is over; white space at its end goes."""


class PlainRows:
    """The rows of a text as it was written."""

    def __init__(self, width: int) -> None:
        self.rows = [Row(0, 0, "")]
        self._width = width

    def read(self, text: str) -> int:
        """Read what comes next; the index of the first row that changed."""
        first = len(self.rows) - 1
        last = self.rows.pop()
        paragraph, offset = last.paragraph, last.start
        for index, piece in enumerate((last.text + text).split("\n")):
            if index:
                paragraph, offset = paragraph + 1, 0
            cuts = [0, *row_starts(piece, self._width), len(piece)]
            self.rows.extend(
                Row(paragraph, offset + start, piece[start:end]) for start, end in pairwise(cuts)
            )
        return first

    def finish(self) -> None:
        """The text is over; white space at its end goes."""
        while len(self.rows) > 1 and not self.rows[-1].text.strip():
            self.rows.pop()
        last = self.rows.pop()
        self.rows.append(Row(last.paragraph, last.start, last.text.rstrip()))


class WrappedText:
    """Text as rows, made when they are first asked for: most widths are known later than the text.

    Appending costs what is appended, not what there is.
    """

    READ_AT_ONCE: ClassVar[int] = 5_000
    """Characters: about five milliseconds, for which the screen may stand still."""

    def __init__(self, text: str = "", width: int = 80, *, is_complete: bool = False) -> None:
        """
        Args:
            is_complete: whether the text does not go on.
        """
        self._width = max(1, width)
        self._pieces = [text]
        self._is_whole = is_complete
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
        if self._made is None:
            self._made, self._unread = self._new_rows(), self.source
            self._read(self._made)
        return self._made

    def _new_rows(self) -> GrowingRows:
        return PlainRows(self._width)

    @property
    def has_unread(self) -> bool:
        """Whether a long text goes on behind the rows."""
        return bool(self._unread)

    @property
    def unread_rows(self) -> int:
        """About how many rows the text takes that is not read yet."""
        return estimated_rows(self._unread, self._width) if self._unread else 0

    def read_more(self) -> None:
        """Read the next part of a long text."""
        self._read(self._rows)

    def _read(self, rows: GrowingRows) -> None:
        part = self._unread[: self.READ_AT_ONCE]
        self._unread = self._unread[self.READ_AT_ONCE :]
        rows.read(part)
        if self._is_whole and not self._unread:
            rows.finish()

    @property
    def source(self) -> str:
        """What it was made of."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    @property
    def text(self) -> str:
        """What is shown, a line for each paragraph."""
        return self.source

    @property
    def has_text(self) -> bool:
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
        return ""

    def selected(self, selection: Selection) -> str:
        """What a selection, by paragraphs and indices in them, takes of the text."""
        return (selected_text(self.text, selection) or ("", ""))[0]


def shown_text(rows: Iterable[Row]) -> str:
    """The text of all rows, a line for each paragraph."""
    parts: list[str] = []
    for row in rows:
        if row.start == 0 and row.paragraph:
            parts.append("\n")
        parts.append(row.text)
    return "".join(parts)


def selected_text(text: str, selection: Selection) -> tuple[str, str] | None:
    """What ``Widget.get_selection`` gives for a text of paragraphs."""
    lines = text.split("\n")
    start = selection.start or Offset(0, 0)
    end = selection.end or Offset(len(lines[-1]), len(lines) - 1)
    chosen = lines[start.y : end.y + 1]
    if not chosen:
        return None
    if end.y < len(lines):
        chosen[-1] = chosen[-1][: end.x]
    chosen[0] = chosen[0][start.x :]
    return "\n".join(chosen), "\n"
