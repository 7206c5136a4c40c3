"""The widget that draws rounds, and handles clicks and selections in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
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
from chatui.tui.widgets.laid_out_rounds import MARGIN_CELLS, LaidOutRounds
from chatui.tui.widgets.match_highlights import MatchHighlights
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
        chosen_id: id of the highlighted round, which the next command applies to; or None.
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
        self.chosen_id: int | None = None
        self._highlights = MatchHighlights()
        self._strips: dict[object, Strip] = {}
        self._style_cache: dict[str, Style] = {}

    def choose(self, round_id: int | None) -> None:
        """Highlight a round as the chosen one; None highlights none."""
        self.chosen_id = round_id
        self.refresh()

    def highlight(
        self, pattern: re.Pattern[str] | None, current: tuple[RoundView, int] | None = None
    ) -> None:
        """Highlight the matches of a pattern; None removes the highlights.

        Args:
            current: a round, and the index of the current match among its matches.
        """
        self._highlights = MatchHighlights(pattern, current)
        self.refresh()

    def scroll_to_match(self) -> None:
        """Scroll to the current match."""
        if (view := self._highlights.current_view) is not None:
            self.round_layout.lay_out_whole(self.views.index(view))
        if (at := self._highlights.current_row) is not None:
            self._scroll_to_row(*at, self._visible_rows // 3)

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
        self._strips.clear()
        self._style_cache.clear()

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
        if not self.views:
            return Strip.blank(self.size.width, self.rich_style)
        index, part, row = self._locate(y)
        if part is None:
            is_between = row >= self.views[index].height
            style = self.rich_style if is_between else self._style("reply", index)
            return Strip.blank(self.size.width, style)
        return self._cached_strip(index, part, row)

    def _cached_strip(self, index: int, part: RoundPart, number: int) -> Strip:
        """Return a row's strip, from the cache if nothing in it has changed."""
        row = self._row(index, part, number)
        round_ = self._round(index)
        paragraph = index * _PARAGRAPHS + part.paragraph + row.paragraph
        selection = self.text_selection
        selected = None if selection is None else selection.get_span(paragraph)
        button = self._button(index, part, number)
        is_chosen = round_.id == self.chosen_id
        shape = self.size.width, self.round_layout.shape.gap
        key = row, part.name, round_.state, paragraph, selected, button, is_chosen, shape
        if (strip := self._strips.get(key)) is None:
            if len(self._strips) >= MAX_CACHED_STRIPS:
                self._strips.clear()
            strip = self._make_strip(index, part, row, paragraph, selected, button)
            self._strips[key] = strip
        return strip

    def _make_strip(
        self,
        index: int,
        part: RoundPart,
        row: Row,
        paragraph: int,
        selected: tuple[int, int] | None,
        button: str,
    ) -> Strip:
        width = self.size.width
        note = "error" if self._round(index).state == "failed" else "note"
        style = plain = self._style(note if part.name == "note" else part.name, index)
        if row.style:
            style += self._markup(row.style)
        segments = row_segments(
            row,
            style,
            paragraph=paragraph,
            selected=selected,
            selected_style=self.screen.get_component_rich_style("screen--selection"),
            style_of=self._markup,
        )
        if self.round_layout.shape.gap:
            is_query = part.name == "query"
            margin = Segment("▌ ", self._style("bar", index)) if is_query else Segment("  ", plain)
            segments.insert(0, margin)
        strip = Strip(segments).adjust_cell_length(width, style)
        if button:
            muted = self._style("mark", index)
            segment = Segment(button, style + self._markup("link") if row.style else muted)
            strip = Strip.join([strip.crop(0, width - segment.cell_length), Strip([segment])])
        return strip

    def _button(self, index: int, part: RoundPart, number: int) -> str:
        """Return the text to click at the right end of a row; "" if there is none or no room."""
        row = part.text.rows[number]
        if row.style == "code-head":
            button = say("tui.round.copy_code") + " "
        elif part.name == "author" and not number and self._round(index).state != "streaming":
            button = " +  - "
        else:
            return ""
        has_room = MARGIN_CELLS + cell_len(row.text) + cell_len(button) < self.size.width
        return button if has_room else ""

    def _round(self, index: int) -> Round:
        return self.views[index].round

    def _row(self, index: int, part: RoundPart, number: int) -> Row:
        return self._highlights.highlighted(self.views[index], part, number)

    def _style(self, name: str, index: int) -> Style:
        style = self._component_style(f"round--{name}")
        if self._round(index).id == self.chosen_id:
            chosen = self._component_style("round--chosen")
            style += Style(bgcolor=chosen.bgcolor, bold=chosen.bold or None)
        return style

    def _component_style(self, component: str, *, partial: bool = False) -> Style:
        """Return a component's style; Textual's own cache is cleared with each frame."""
        key = f"{component} partial" if partial else component
        if key not in self._style_cache:
            style = self.get_component_rich_style(component, partial=partial)
            self._style_cache[key] = style
        return self._style_cache[key]

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
        index, part, row = self._locate(event.y)
        if event.chain == 2:
            # A double click selects the round; Textual would select the whole widget.
            event.prevent_default()
            whole = Selection(Offset(0, index * _PARAGRAPHS), Offset(0, (index + 1) * _PARAGRAPHS))
            self.screen.selections = {self: whole}
            return
        if part is None:
            return
        # + and - take the last six cells of the row, three each.
        from_end = self.size.width - 1 - event.x
        if part.name == "author" and from_end < 6 and self._button(index, part, row):
            event.stop()
            self.post_message(self.Rated(self._round(index), 1 if from_end >= 3 else -1))
        elif part.name == "author" and (step := self._version_step(index, part, row, event.x)):
            event.stop()
            self.post_message(self.VersionRequested(self._round(index), step))
        elif part.name == "query" and not self.screen.selections:
            event.stop()
            self.post_message(self.QueryClicked(self._round(index)))
        elif part.fold is not None:
            event.stop()
            self.views[index].toggle_fold(part.fold)
        elif (line := part.text.rows[row]).style == "code-head":
            event.stop()
            self.post_message(self.CodeClicked(part.text.code_at(line.paragraph)))

    def _version_step(self, index: int, part: RoundPart, number: int, x: int) -> int:
        """Return -1 or 1 for a click on the left or right half of ``‹ 2/3 ›``, else 0."""
        text = part.text.rows[number].text
        start, end = text.rfind("‹"), text.rfind("›")
        if self._round(index).versions < 2 or not 0 <= start < end:
            return 0
        margin = 2 if self.round_layout.shape.gap else 0
        first, last = (margin + cell_len(text[:arrow]) for arrow in (start, end))
        return (-1 if 2 * x < first + last else 1) if first <= x <= last else 0

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        start, end = selection
        first = 0 if start is None else start.y // _PARAGRAPHS
        last = len(self.views) - 1 if end is None else end.y // _PARAGRAPHS
        chosen: list[str] = []
        for index in range(first, min(last + 1, len(self.views))):
            above = Offset(0, index * _PARAGRAPHS)
            own = Selection(
                start - above if start is not None and index == first else None,
                end - above if end is not None and index == last else None,
            )
            if own.end != Offset(0, 0):
                chosen.append(self.views[index].selected_text(own))
        return ("\n".join(chosen), "\n") if chosen else None
