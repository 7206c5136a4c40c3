"""A growing text, wrapped to rows of a given width."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import ClassVar

from textual.geometry import Offset
from textual.selection import Selection

from chatui.tui.wrapping import Row, estimated_rows, row_starts


class WrappedText:
    """A plain text as rows, made on first use, because the width is often unknown before.

    The time to append depends only on the appended text. Subclasses read other texts.
    """

    CHUNK_CHARACTERS: ClassVar[int] = 5_000
    """Characters read at once, in about five milliseconds."""

    IS_MARKDOWN: ClassVar[bool] = False

    def __init__(self, text: str = "", width: int = 80, *, is_complete: bool = False) -> None:
        """
        Args:
            is_complete: False if text may be appended.
        """
        self._pieces = [text]
        self._is_whole = is_complete
        self.rewrap(width)

    def rewrap(self, width: int) -> None:
        """Set another width."""
        self._width, self._rows, self._unread = max(1, width), list[Row](), ""
        self._has_begun = False

    @property
    def width(self) -> int:
        """Cells in a row."""
        return self._width

    @property
    def rows(self) -> list[Row]:
        """The rows read so far, at least one; a long text is read in several chunks."""
        if not self._has_begun:
            self._begin()
        return self._rows or [Row(0, 0, "")]

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
        part = self._unread[: self.CHUNK_CHARACTERS]
        self._unread = self._unread[self.CHUNK_CHARACTERS :]
        self._read(part)
        if self._is_whole and not self._unread:
            self._finish()

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
            self._is_whole = self._has_begun = False
        if not self._has_begun:
            return 0
        if self._unread:
            self._unread += text
            return len(self._rows)
        return self._read(text)

    def strip_end(self) -> None:
        """End the text and remove white space at its end; other rows are kept."""
        self._pieces = [self.source.rstrip()]
        self._is_whole = True
        self._unread = self._unread.rstrip()
        if self._has_begun and not self._unread:
            self._finish()

    def code_at(self, paragraph: int) -> str:
        """Return the code below a paragraph that is a code head; "" for other paragraphs."""
        return ""

    def selected(self, selection: Selection) -> str:
        """Return the selected text; the selection's offsets are (index, paragraph)."""
        return (selected_text(self.text, selection) or ("", ""))[0]

    def _begin(self) -> None:
        """Read the first chunk at the present width."""
        self._has_begun = True
        self._rows, self._unread = [], self.source
        self.read_more()

    def _read(self, text: str) -> int:
        """Make the rows of more text; return the index of the first changed row."""
        last = self._rows.pop() if self._rows else Row(0, 0, "")
        first, paragraph, offset = len(self._rows), last.paragraph, last.start
        for index, piece in enumerate((last.text + text).split("\n")):
            if index:
                paragraph, offset = paragraph + 1, 0
            cuts = [0, *row_starts(piece, self._width), len(piece)]
            self._rows.extend(
                Row(paragraph, offset + start, piece[start:end]) for start, end in pairwise(cuts)
            )
        return first

    def _finish(self) -> None:
        """End the text and remove white space at its end."""
        while len(self._rows) > 1 and not self._rows[-1].text.strip():
            self._rows.pop()
        last = self._rows.pop()
        self._rows.append(Row(last.paragraph, last.start, last.text.rstrip()))


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
