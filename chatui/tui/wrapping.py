"""Paragraphs as rows of a terminal: where they break, how they grow and how they are drawn.

Latin words stay whole, Chinese breaks between any two characters, and the usual rules of Chinese
typesetting hold (GB/T 15834: no row begins with a closing mark or ends with an opening one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from rich.cells import split_graphemes
from rich.segment import Segment
from rich.style import Style
from textual.geometry import Offset
from textual.selection import Selection

TAB_CELLS = 4

WRAPPED_AT_ONCE = 10_000
"""Characters: about ten milliseconds."""

_NOT_FIRST = frozenset("，。、；：？！）》」』】〕〉〗”’…—·～％‰℃,.;:?!)]}%ー々﹏")
_NOT_LAST = frozenset("（《「『【〔〈〖“‘([{￥$＄")


def _may_break(before: str, wide_before: bool, after: str, wide_after: bool) -> bool:
    """Whether a row may end after ``before`` and the next begin with ``after``."""
    if after.isspace() or after in _NOT_FIRST:
        return False
    if before.isspace():
        return True
    if before in _NOT_LAST:
        return False
    return wide_before or wide_after


def row_starts(paragraph: str, width: int) -> list[int]:
    """Indices at which the second and later rows of a paragraph begin.

    Args:
        paragraph: text without newlines.
        width: cells in a row; less than 1 counts as 1.
    """
    width = max(1, width)
    if len(paragraph) * 2 <= width and "\t" not in paragraph:
        return []
    starts: list[int] = []
    row_start = 0
    cells = 0
    chance = 0
    cells_at_chance = 0
    before, wide_before = "", False
    for start, end, grapheme_cells in split_graphemes(paragraph)[0]:
        after = paragraph[start:end]
        size = TAB_CELLS - cells % TAB_CELLS if after == "\t" else grapheme_cells
        if start > row_start and _may_break(before[-1:], wide_before, after[:1], size == 2):
            chance, cells_at_chance = start, cells
        while cells + size > width and start > row_start and not after.isspace():
            if chance > row_start:
                row_start, cells = chance, cells - cells_at_chance
            else:
                row_start, cells = start, 0
            starts.append(row_start)
        cells += size
        before, wide_before = after, size == 2
    return starts


def estimated_rows(text: str, width: int) -> int:
    """About how many rows a text takes; hundreds of times faster than to wrap it."""
    # A Chinese character has three bytes and takes two cells.
    cells = (len(text) + len(text.encode(errors="surrogatepass"))) // 2
    return text.count("\n") + 1 + cells // max(1, width)


class Span(NamedTuple):
    """A part of a text that looks different; ``style`` names how, several names with blanks."""

    start: int
    end: int
    style: str


Prefix: TypeAlias = tuple[tuple[str, str], ...]
"""What stands before a row and is no part of its text: (text, style) each."""


@dataclass(frozen=True)
class Row:
    """One row on the screen.

    Attributes:
        paragraph, start: ``text`` is the paragraph's part from index ``start`` on.
        spans: parts of ``text`` that look different, in order, none over another.
        style: how the whole row looks; "" as all text does.
        prefix: what stands before it.
    """

    paragraph: int
    start: int
    text: str
    spans: tuple[Span, ...] = ()
    style: str = ""
    prefix: Prefix = ()


def cut_spans(spans: Iterable[Span], start: int, end: int) -> tuple[Span, ...]:
    """What of ``spans`` lies from ``start`` to ``end`` of their text, counted from ``start``."""
    return tuple(
        Span(max(span.start, start) - start, min(span.end, end) - start, span.style)
        for span in spans
        if span.start < end and span.end > start
    )


def laid_over(spans: Sequence[Span], over: Sequence[Span]) -> tuple[Span, ...]:
    """Spans with others over them: where both are, the part has the styles of both."""
    found = []
    edges = sorted({edge for span in (*spans, *over) for edge in (span.start, span.end)})
    for start, end in pairwise(edges):
        names = [each.style for each in (*spans, *over) if each.start <= start and end <= each.end]
        if names:
            found.append(Span(start, end, " ".join(names)))
    return tuple(found)


class WrappedText:
    """Text as rows of a given width; appending costs what is appended, not what there is.

    Attributes:
        rows: of what was read; of a very long text that is its beginning.
    """

    def __init__(self, text: str = "", width: int = 80) -> None:
        self._width = max(1, width)
        self._pieces = [text]
        self._unread = text
        self.rows: list[Row] = [Row(0, 0, "")]
        self.read_on()

    def read_on(self) -> None:
        """Read the next part of a very long text."""
        part, self._unread = self._unread[:WRAPPED_AT_ONCE], self._unread[WRAPPED_AT_ONCE:]
        self._wrap(part)

    @property
    def has_unread(self) -> bool:
        """Whether a very long text goes on behind the rows."""
        return bool(self._unread)

    @property
    def unread_rows(self) -> int:
        """About how many rows the text takes that is not read yet."""
        return estimated_rows(self._unread, self._width) if self._unread else 0

    @property
    def width(self) -> int:
        """Cells in a row."""
        return self._width

    @property
    def text(self) -> str:
        """All of the text."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    @property
    def source(self) -> str:
        """What it was made of."""
        return self.text

    @property
    def text_began(self) -> bool:
        """Whether there is any text."""
        return len(self.rows) > 1 or bool(self.rows[0].text)

    def append(self, text: str) -> int:
        """Add ``text`` at the end; the index of the first row that changed."""
        self._pieces.append(text)
        if self._unread:
            self._unread += text
            return len(self.rows)
        return self._wrap(text)

    def _wrap(self, text: str) -> int:
        first = len(self.rows) - 1
        if not text:
            return first
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

    def strip_end(self) -> None:
        """Remove white space at the end; rows before it stay as they are."""
        self._pieces = [self.text.rstrip()]
        self._unread = self._unread.rstrip()
        if self._unread:
            return
        while len(self.rows) > 1 and not self.rows[-1].text.strip():
            self.rows.pop()
        last = self.rows.pop()
        self.rows.append(Row(last.paragraph, last.start, last.text.rstrip()))

    def rewrap(self, width: int) -> None:
        """Wrap everything again at another width."""
        self._unread, self._width, self.rows = self.text, max(1, width), [Row(0, 0, "")]
        self.read_on()

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


def row_segments(
    row: Row,
    style: Style,
    *,
    paragraph: int,
    selected: tuple[int, int] | None = None,
    selected_style: Style | None = None,
    style_of: Callable[[str], Style] = lambda name: Style(),
) -> list[Segment]:
    """The segments of one row.

    Args:
        style: of the row, without what its spans say.
        paragraph: the row's paragraph, counted in the whole widget: what a selection calls y.
        selected: the selected part of the paragraph as (start, end), end -1 for all of the rest.
        selected_style: laid over ``style`` there.
        style_of: what the style names of spans and prefixes mean.
    """
    segments = [
        _segment(text, style + style_of(name), row.start, paragraph) for text, name in row.prefix
    ]
    cells = 0
    for start, end, is_selected, name in _parts(row, selected):
        shown = style + style_of(name) if name else style
        if is_selected and selected_style:
            shown += selected_style
        for index, piece in enumerate(row.text[start:end].split("\t")):
            if index:
                tab = TAB_CELLS - cells % TAB_CELLS
                segments.append(_segment(" " * tab, shown, row.start + start - 1, paragraph))
                cells += tab
            if piece:
                segment = _segment(piece, shown, row.start + start, paragraph)
                segments.append(segment)
                cells += segment.cell_length
            start += len(piece) + 1
    # An empty row can be the start of a selection too.
    return segments or [_segment(" ", style, row.start, paragraph)]


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


def _segment(text: str, style: Style, start: int, paragraph: int) -> Segment:
    return Segment(text, style + Style.from_meta({"offset": (start, paragraph)}))


def _parts(row: Row, selected: tuple[int, int] | None) -> list[tuple[int, int, bool, str]]:
    """The parts of a row as (start, end, is selected, style), indices within the row."""
    length = len(row.text)
    first = last = length
    if selected is not None:
        first = min(max(selected[0] - row.start, 0), length)
        last = length if selected[1] == -1 else min(max(selected[1] - row.start, first), length)
    names: dict[int, str] = {0: ""}
    for span in row.spans:
        names[span.start] = span.style
        names.setdefault(span.end, "")
    parts: list[tuple[int, int, bool, str]] = []
    name = ""
    for start, end in pairwise(sorted({*names, first, last, length})):
        name = names.get(start, name)
        parts.append((start, end, first <= start < last, name))
    return parts
