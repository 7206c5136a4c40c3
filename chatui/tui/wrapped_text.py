"""A growing text, wrapped to rows of a given width."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import ClassVar, Protocol

from textual.geometry import Offset
from textual.selection import Selection

from chatui.tui.wrapping import Row, estimated_rows, row_starts


class GrowingRows(Protocol):
    """Converts a growing text to rows.

    Attributes:
        rows: rows from top to bottom.
    """

    rows: list[Row]

    def read(self, text: str) -> int:
        """Append text; return the index of the first changed row."""

    def finish(self) -> None:
        """End the text and remove white space at its end."""


class PlainRows:
    """The rows of a plain text."""

    def __init__(self, width: int) -> None:
        self.rows = [Row(0, 0, "")]
        self._width = width

    def read(self, text: str) -> int:
        """Append text; return the index of the first changed row."""
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
        """End the text and remove white space at its end."""
        while len(self.rows) > 1 and not self.rows[-1].text.strip():
            self.rows.pop()
        last = self.rows.pop()
        self.rows.append(Row(last.paragraph, last.start, last.text.rstrip()))


class WrappedText:
    """A text as rows, made on first use, because the width is often unknown before.

    The time to append depends only on the appended text.
    """

    CHUNK_CHARACTERS: ClassVar[int] = 5_000
    """Characters read at once, in about five milliseconds."""

    def __init__(self, text: str = "", width: int = 80, *, is_complete: bool = False) -> None:
        """
        Args:
            is_complete: False if text may be appended.
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
        """The rows read so far, at least one; a long text is read in several chunks."""
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
        """Whether a part of the text is not in the rows yet."""
        return bool(self._unread)

    @property
    def unread_rows(self) -> int:
        """Approximate number of rows of the text that is not read yet."""
        return estimated_rows(self._unread, self._width) if self._unread else 0

    def read_more(self) -> None:
        """Read the next chunk of a long text."""
        self._read(self._rows)

    def _read(self, rows: GrowingRows) -> None:
        part = self._unread[: self.CHUNK_CHARACTERS]
        self._unread = self._unread[self.CHUNK_CHARACTERS :]
        rows.read(part)
        if self._is_whole and not self._unread:
            rows.finish()

    @property
    def source(self) -> str:
        """The text as given."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    @property
    def text(self) -> str:
        """The shown text, one line per paragraph."""
        return self.source

    @property
    def has_text(self) -> bool:
        """Whether there is text other than white space."""
        return any(piece and not piece.isspace() for piece in self._pieces)

    def append(self, text: str) -> int:
        """Append ``text``; return the index of the first changed row."""
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
        """End the text and remove white space at its end; other rows are kept."""
        self._pieces = [self.source.rstrip()]
        self._is_whole = True
        self._unread = self._unread.rstrip()
        if self._made is not None and not self._unread:
            self._made.finish()

    def rewrap(self, width: int) -> None:
        """Set another width."""
        self._width, self._made, self._unread = max(1, width), None, ""

    def code_at(self, paragraph: int) -> str:
        """Return the code below a paragraph that is a code head; "" for other paragraphs."""
        return ""

    def selected(self, selection: Selection) -> str:
        """Return the selected text; the selection's offsets are (index, paragraph)."""
        return (selected_text(self.text, selection) or ("", ""))[0]


def shown_text(rows: Iterable[Row]) -> str:
    """Return the text of all rows, one line per paragraph."""
    parts: list[str] = []
    for row in rows:
        if row.start == 0 and row.paragraph:
            parts.append("\n")
        parts.append(row.text)
    return "".join(parts)


def selected_text(text: str, selection: Selection) -> tuple[str, str] | None:
    """Return the result of ``Widget.get_selection`` for a text of paragraphs."""
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
