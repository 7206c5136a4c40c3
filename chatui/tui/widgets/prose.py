"""Text wrapped by the rules of Chinese typesetting."""

from __future__ import annotations

from rich.style import Style
from textual.geometry import Size
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from chatui.text import plain_text
from chatui.tui.row_segments import row_segments
from chatui.tui.wrapped_text import WrappedText, selected_text
from chatui.tui.wrapping import Row


class Prose(Widget):
    """Selectable text without markup."""

    ALLOW_SELECT = True

    def __init__(self, text: str = "", *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._rows = WrappedText(plain_text(text))

    @property
    def text(self) -> str:
        """The text."""
        return self._rows.text

    @property
    def all_rows(self) -> list[Row]:
        """All rows of the text; a long one is wrapped here to its end."""
        rows = self._rows.rows
        while self._rows.has_unread:
            self._rows.read_more()
            rows = self._rows.rows
        return rows

    def set_text(self, text: str) -> None:
        """Set the text."""
        text = plain_text(text)
        if text != self.text:
            self._rows = WrappedText(text, self._rows.width)
            self.refresh(layout=True)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        if width > 0 and width != self._rows.width:
            self._rows.rewrap(width)
        return len(self.all_rows)

    def render_line(self, y: int) -> Strip:
        width, style = self.size.width, self.rich_style
        if y >= len(self.all_rows):
            return Strip.blank(width, style)
        row = self._row(y)
        selection = self.text_selection
        segments = row_segments(
            row,
            style,
            paragraph=row.paragraph,
            selected=None if selection is None else selection.get_span(row.paragraph),
            selected_style=self.screen.get_component_rich_style("screen--selection"),
            style_of=self._style_of,
        )
        return Strip(segments).adjust_cell_length(width, style)

    def _row(self, y: int) -> Row:
        return self.all_rows[y]

    def _style_of(self, name: str) -> Style:
        """Return the style for a style name of a row's spans."""
        return Style()

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selected_text(self.text, selection)
