"""The widget that draws rounds, and handles clicks and selections in them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.events import Click
from textual.geometry import Offset, Region
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip

from chatui.conversation.rounds import Rating, Round
from chatui.locales import say
from chatui.tui.row_segments import row_segments
from chatui.tui.widgets.match_highlights import MatchHighlights
from chatui.tui.widgets.round_layout import MARGIN_CELLS, LaidOutRounds
from chatui.tui.widgets.round_view import RoundPart, RoundView
from chatui.tui.wrapping import Row

MARKUP_STYLES = (
    *(f"heading{level}" for level in (1, 2, 3)),
    *("strong", "emphasis", "struck", "link", "target", "code", "code-head", "formula", "marker"),
    *("rule", "quote", "quote-bar", "table-head", "found", "found-here"),
    *("comment", "string", "number", "keyword", "name"),
)
"""Component classes of Markdown and of search matches, styled in round_list.tcss."""

MAX_CACHED_STRIPS = 500
"""Maximum number of rendered rows kept; a screen shows about a tenth of it."""

_PARAGRAPHS = 10_000_000
"""The y of a selection is: index of the round * this + index of a paragraph in the round."""


class RoundList(LaidOutRounds):
    """Draws rounds, and posts messages for clicks in them.

    Attributes:
        chosen: the highlighted round, which the next command applies to; or None.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"round--{part}" for part in ("bar", "query", "author", "reply", "fold", "folded")),
        *("round--note", "round--mark", "round--error", "round--chosen"),
        *(f"markup--{name}" for name in MARKUP_STYLES),
    }
    ALLOW_SELECT = True

    @dataclass
    class CodeClicked(Message):
        """The user clicked the header of a code block."""

        code: str

    @dataclass
    class VersionRequested(Message):
        """The user clicked the arrow to the previous (-1) or next (1) version."""

        round: Round
        step: int

    @dataclass
    class QueryClicked(Message):
        """The user clicked a query."""

        round: Round

    @dataclass
    class Rated(Message):
        """The user clicked + or - to rate a reply."""

        round: Round
        rating: Rating

    def __init__(self) -> None:
        super().__init__()
        self.chosen: RoundView | None = None
        self._matches = MatchHighlights()
        self._strip = lru_cache(MAX_CACHED_STRIPS)(self._make_strip)
        # Textual's own cache is cleared with each frame.
        self._component_style = cache(self.get_component_rich_style)

    def choose(self, view: RoundView | None) -> None:
        """Highlight a round as the chosen one; None highlights none."""
        self.chosen = view
        self.refresh()

    def highlight(self, matches: MatchHighlights) -> None:
        """Highlight the matches of a search, in place of those before."""
        self._matches = matches
        self.refresh()

    def scroll_to_match(self) -> None:
        """Scroll to the current match."""
        if (view := self._matches.view) is not None and view in self.views:
            self.round_layout.lay_out_whole(self.views.index(view))
            self._scroll_to_row(view, self._matches.row, self._visible_rows // 3)

    # Drawing

    def render_lines(self, crop: Region) -> list[Strip]:
        """Render rows one by one; Textual renders all rows again whenever the height changes."""
        background, strips = self.background_colors[1], []
        for y in crop.line_range:
            strip = self.render_line(y)
            for line_filter in self.get_line_filters():
                strip = strip.apply_filter(line_filter, background)
            strips.append(strip.crop(crop.x, crop.right))
        return strips

    def notify_style_update(self) -> None:
        super().notify_style_update()
        self._strip.cache_clear()
        self._component_style.cache_clear()

    def _locate(self, y: int) -> tuple[int, RoundPart | None, int]:
        """Return the index of the round at a row of the widget, its part there, and the row.

        The row counts from the top of the part, or of the round if there is no part.
        """
        row = y + self.round_layout.shift
        index = self.round_layout.index_at(row)
        view = self.views[index]
        row -= self.round_layout.tops[index]
        part = view.part_at(row) if view.shape == self.round_layout.shape else None
        return index, part, row - (part.top if part else 0)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if not self.views:
            return Strip.blank(width, self.rich_style)
        index, part, number = self._locate(y)
        view = self.views[index]
        is_chosen = view is self.chosen
        if part is None:
            is_between = number >= view.height
            return Strip.blank(
                width, self.rich_style if is_between else self._style("reply", is_chosen)
            )
        row = self._row(view, part, number)
        is_error = part.name == "note" and view.round.state == "failed"
        paragraph = index * _PARAGRAPHS + part.paragraph + row.paragraph
        selection = self.text_selection
        return self._strip(
            row,
            "error" if is_error else part.name,
            is_chosen,
            paragraph,
            None if selection is None else selection.get_span(paragraph),
            self._button(view, part, number),
            width,
            bool(self.round_layout.shape.gap),
        )

    def _make_strip(
        self,
        row: Row,
        name: str,
        is_chosen: bool,
        paragraph: int,
        selected: tuple[int, int] | None,
        button: str,
        width: int,
        has_margin: bool,
    ) -> Strip:
        """Draw a row; ``name`` is the style of its part, ``button`` the text at its right end."""
        plain = self._style(name, is_chosen)
        style = plain + self._markup(row.style)
        segments = row_segments(
            row,
            style,
            paragraph=paragraph,
            selected=selected,
            selected_style=self.screen.get_component_rich_style("screen--selection"),
            style_of=self._markup,
        )
        if has_margin:
            bar = Segment("▌ ", self._style("bar", is_chosen))
            segments.insert(0, bar if name == "query" else Segment("  ", plain))
        strip = Strip(segments).adjust_cell_length(width, style)
        if button:
            shown = style + self._markup("link") if row.style else self._style("mark", is_chosen)
            segment = Segment(button, shown)
            strip = Strip.join([strip.crop(0, width - segment.cell_length), Strip([segment])])
        return strip

    def _button(self, view: RoundView, part: RoundPart, number: int) -> str:
        """Return the text to click at the right end of a row; "" if there is none or no room."""
        row = part.text.rows[number]
        if row.style == "code-head":
            button = say("tui.round.copy_code") + " "
        elif part.name == "author" and not number and view.round.state != "streaming":
            button = " +  - "
        else:
            return ""
        has_room = MARGIN_CELLS + cell_len(row.text) + cell_len(button) < self.size.width
        return button if has_room else ""

    def _row(self, view: RoundView, part: RoundPart, number: int) -> Row:
        return self._matches.highlighted(view, part, number)

    def _style(self, name: str, is_chosen: bool) -> Style:
        style = self._component_style(f"round--{name}")
        if is_chosen:
            chosen = self._component_style("round--chosen")
            style += Style(bgcolor=chosen.bgcolor, bold=chosen.bold or None)
        return style

    def _markup(self, names: str) -> Style:
        """Return the combined style of Markdown elements, named with blanks between."""
        style = Style()
        for name in names.split():
            own = self._component_style(f"markup--{name}", partial=True)
            if own.color is not None:
                # A transparent colour is blended with the background in the full style only.
                own += Style(color=self._component_style(f"markup--{name}").color)
            style += own
        return style

    # The mouse

    def on_click(self, event: Click) -> None:
        if not self.views:
            return
        index, part, number = self._locate(event.y)
        if event.chain == 2:
            # A double click selects the round; Textual would select the whole widget.
            event.prevent_default()
            whole = Selection(Offset(0, index * _PARAGRAPHS), Offset(0, (index + 1) * _PARAGRAPHS))
            self.screen.selections = {self: whole}
        elif part is not None and part.fold is not None:
            event.stop()
            self.views[index].toggle_fold(part.fold)
        elif part and (message := self._click_message(self.views[index], part, number, event.x)):
            event.stop()
            self.post_message(message)

    def _click_message(
        self, view: RoundView, part: RoundPart, number: int, x: int
    ) -> Message | None:
        """Return the message for a click in row ``number`` of a part; None if it does nothing."""
        row = part.text.rows[number]
        if row.style == "code-head":
            return self.CodeClicked(part.text.code_at(row.paragraph))
        if part.name == "query" and not self.screen.selections:
            return self.QueryClicked(view.round)
        if part.name != "author":
            return None
        # + and - take the last six cells of the row, three each.
        from_end = self.size.width - 1 - x
        if from_end < 6 and self._button(view, part, number):
            return self.Rated(view.round, 1 if from_end >= 3 else -1)
        # The left and the right half of "‹ 2/3 ›".
        before, arrow, version = row.text.rpartition("‹")
        first = cell_len(before) + (MARGIN_CELLS if self.round_layout.shape.gap else 0)
        last = first + cell_len(version)
        if view.round.versions < 2 or not arrow or not first <= x <= last:
            return None
        return self.VersionRequested(view.round, -1 if 2 * x < first + last else 1)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        start = selection.start or Offset()
        end = selection.end or Offset(0, len(self.views) * _PARAGRAPHS)
        chosen: list[str] = []
        for index in range(start.y // _PARAGRAPHS, min(end.y // _PARAGRAPHS + 1, len(self.views))):
            first = index * _PARAGRAPHS
            chosen += self.views[index].selected_texts(
                (start.y - first, start.x), (end.y - first, end.x)
            )
        return ("\n".join(chosen), "\n") if chosen else None
