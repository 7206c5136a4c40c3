"""Plain text that can grow: what was typed and what a model said."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Offset, Region, Size
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from chatui.tui.plain_text import plain_text
from chatui.tui.wrapping import TAB_CELLS, Row, WrappedText

SHOWN_CHARACTERS = 50_000
"""A longer text given at once is shown up to here; the store keeps all of it."""


class FlowingText(Widget):
    """Text without markup that wraps, can be selected, and grows at a cost of what is added."""

    DEFAULT_CSS = "FlowingText { height: auto; width: 1fr; }"

    ALLOW_SELECT = True

    def __init__(self, text: str = "", *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._rows = WrappedText()
        self.hidden_characters = 0
        self._load(text)

    @property
    def text(self) -> str:
        """The text as shown."""
        return self._rows.text

    def set_text(self, text: str) -> None:
        """Show another text."""
        self._load(text)
        self.refresh(layout=True)

    def append(self, text: str) -> None:
        """Add to the end."""
        height = len(self._rows.rows)
        first = self._rows.append(plain_text(text))
        if len(self._rows.rows) != height:
            self.refresh(layout=True)
        else:
            self.refresh(Region(0, first, self.size.width, height - first))

    def _load(self, text: str) -> None:
        self.hidden_characters = max(0, len(text) - SHOWN_CHARACTERS)
        self._rows = WrappedText(plain_text(text[:SHOWN_CHARACTERS]), self._rows.width)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if width != self._rows.width and width > 0:
            self._rows.rewrap(width)
        return len(self._rows.rows)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        style = self.rich_style
        rows = self._rows.rows
        if y >= len(rows):
            return Strip.blank(width, style)
        row = rows[y]
        spans = self._spans(row.paragraph, row.start, len(row.text))
        selected = self.screen.get_component_rich_style("screen--selection")
        segments: list[Segment] = []
        cells = 0
        for start, end, is_selected in spans:
            span_style = style + selected if is_selected else style
            for index, piece in enumerate(row.text[start:end].split("\t")):
                if index:
                    tab = TAB_CELLS - cells % TAB_CELLS
                    segments.append(self._segment(" " * tab, span_style, start - 1, row))
                    cells += tab
                if piece:
                    segment = self._segment(piece, span_style, start, row)
                    segments.append(segment)
                    cells += segment.cell_length
                start += len(piece) + 1
        if not segments:
            segments.append(self._segment(" ", style, 0, row))
            cells = 1
        return Strip(segments, cells).adjust_cell_length(width, style)

    @staticmethod
    def _segment(text: str, style: Style, start: int, row: Row) -> Segment:
        """A segment that tells the compositor which part of the text it shows."""
        return Segment(
            text, style + Style.from_meta({"offset": (row.start + start, row.paragraph)})
        )

    def _spans(self, paragraph: int, start: int, length: int) -> list[tuple[int, int, bool]]:
        """The parts of a row as (start, end, is selected), indices within the row."""
        selection = self.text_selection
        span = None if selection is None else selection.get_span(paragraph)
        if span is None:
            return [(0, length, False)]
        first = min(max(span[0] - start, 0), length)
        last = length if span[1] == -1 else min(max(span[1] - start, 0), length)
        parts = [(0, first, False), (first, last, True), (last, length, False)]
        return [part for part in parts if part[1] > part[0]]

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        lines = self.text.split("\n")
        start = selection.start or Offset(0, 0)
        end = selection.end or Offset(len(lines[-1]), len(lines) - 1)
        chosen = lines[start.y : end.y + 1]
        if not chosen:
            return None
        if end.y < len(lines):
            chosen[-1] = chosen[-1][: end.x]
        chosen[0] = chosen[0][start.x :]
        return "\n".join(chosen), "\n"
