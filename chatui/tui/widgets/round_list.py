"""The rounds of a conversation as they are drawn, chosen, marked, clicked and selected."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
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
from chatui.tui.widgets.match_highlights import match_row, match_spans
from chatui.tui.widgets.round_view import PartPosition, RoundView
from chatui.tui.wrapping import Row, Span, overlay_spans

MARKUP_STYLES = (
    *(f"heading{level}" for level in (1, 2, 3)),
    *("strong", "emphasis", "struck", "link", "target", "code", "code-head", "formula", "marker"),
    *("rule", "quote", "quote-bar", "table-head"),
    *("comment", "string", "number", "keyword", "name"),
    *("found", "found-here"),
)
"""What looks different in Markdown; the stylesheet says how."""

MAX_CACHED_STRIPS = 500
"""So many drawn rows are kept; a screen shows a tenth of them."""

_PARAGRAPHS = 10_000_000
"""What a selection calls y is the number of a round times this, and a paragraph of the round."""


class RoundList(LaidOutRounds):
    """Draws rounds, and tells what in them is clicked.

    Attributes:
        chosen_id: of the round that the next command is about; None if none was chosen.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"round--{part}" for part in ("bar", "query", "author", "reply", "fold", "folded")),
        *("round--note", "round--mark", "round--error", "round--chosen"),
        *(f"markup--{name}" for name in MARKUP_STYLES),
    }
    ALLOW_SELECT = True

    @dataclass
    class CodeClicked(Message):
        """The user clicked the head of a block of code."""

        code: str

    @dataclass
    class VersionRequested(Message):
        """The user clicked the arrow to the version before (-1) or after (1)."""

        round: Round
        step: int

    @dataclass
    class QueryClicked(Message):
        """The user clicked a query."""

        round: Round

    @dataclass
    class Rated(Message):
        """The user clicked a mark that rates the reply."""

        round: Round
        rating: Rating

    def __init__(self) -> None:
        super().__init__()
        self.chosen_id: int | None = None
        self._found: re.Pattern[str] | None = None
        self._found_here: tuple[RoundView, int] | None = None
        self._known_found_row: tuple[object, int] = None, 0
        self._strips: dict[object, Strip] = {}
        self._looks: dict[str, Style] = {}

    def choose(self, round_id: int | None) -> None:
        """Mark a round, and no other; None marks none."""
        self.chosen_id = round_id
        self.refresh()

    def highlight(
        self, found: re.Pattern[str] | None, here: tuple[RoundView, int] | None = None
    ) -> None:
        """Mark what is found; None marks nothing any more.

        Args:
            here: a round, and which place in it is marked most clearly.
        """
        self._found, self._found_here = found, here
        self.refresh()

    def scroll_to_match(self) -> None:
        """Scroll to the place that is marked most clearly."""
        if self._found_here is not None:
            self.rounds.lay_out_whole(self.views.index(self._found_here[0]))
        if (at := self._found_at) is not None:
            self._scroll_to_row(*at, self._visible_rows // 3)

    # Drawing

    def render_lines(self, crop: Region) -> list[Strip]:
        """As Textual's, which would draw all rows again when one came below them."""
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
        self._looks.clear()

    def _at(self, y: int) -> tuple[int, PartPosition | None, int]:
        """The round at a row of the widget, its part there, and the row counted from that part."""
        row = y + self.rounds.shift
        index = self.rounds.index_at(row)
        view = self.views[index]
        row -= self.rounds.tops[index]
        place = view.part_at(row) if view.shape == self.rounds.shape else None
        return index, place, row - (place.top if place else 0)

    def render_line(self, y: int) -> Strip:
        if not self.views:
            return Strip.blank(self.size.width, self.rich_style)
        index, place, row = self._at(y)
        if place is None:
            is_between = row >= self.views[index].height
            style = self.rich_style if is_between else self._style("reply", index)
            return Strip.blank(self.size.width, style)
        return self._strip(index, place, row)

    def _strip(self, index: int, place: PartPosition, number: int) -> Strip:
        """A row as it is drawn, kept as long as it looks the same."""
        row = self._row(index, place, number)
        round_ = self._round(index)
        paragraph = index * _PARAGRAPHS + place.paragraph + row.paragraph
        selection = self.text_selection
        selected = None if selection is None else selection.get_span(paragraph)
        mark = self._mark(index, place, number)
        is_chosen = round_.id == self.chosen_id
        shape = self.size.width, self.rounds.shape.gap
        key = row, place.name, round_.state, paragraph, selected, mark, is_chosen, shape
        if (strip := self._strips.get(key)) is None:
            if len(self._strips) >= MAX_CACHED_STRIPS:
                self._strips.clear()
            strip = self._strips[key] = self._draw(index, place, row, paragraph, selected, mark)
        return strip

    def _draw(
        self,
        index: int,
        place: PartPosition,
        row: Row,
        paragraph: int,
        selected: tuple[int, int] | None,
        mark: str,
    ) -> Strip:
        width = self.size.width
        look = "error" if self._round(index).state == "failed" else "note"
        style = plain = self._style(look if place.name == "note" else place.name, index)
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
        if self.rounds.shape.gap:
            is_query = place.name == "query"
            margin = Segment("▌ ", self._style("bar", index)) if is_query else Segment("  ", plain)
            segments.insert(0, margin)
        strip = Strip(segments).adjust_cell_length(width, style)
        if mark:
            muted = self._style("mark", index)
            marked = Segment(mark, style + self._markup("link") if row.style else muted)
            strip = Strip.join([strip.crop(0, width - marked.cell_length), Strip([marked])])
        return strip

    def _mark(self, index: int, place: PartPosition, number: int) -> str:
        """What can be clicked at the right end of a row, if there is room; else ""."""
        row = place.text.rows[number]
        if row.style == "code-head":
            mark = say("tui.round.copy_code") + " "
        elif place.name == "author" and not number and self._round(index).state != "streaming":
            mark = " +  - "
        else:
            return ""
        has_room = MARGIN_CELLS + cell_len(row.text) + cell_len(mark) < self.size.width
        return mark if has_room else ""

    def _round(self, index: int) -> Round:
        return self.views[index].round

    def _row(self, index: int, place: PartPosition, number: int) -> Row:
        row = place.text.rows[number]
        spans = () if self._found is None else match_spans(self._found, place, number)
        if not spans:
            return row
        is_here = (self.views[index], place.top + number) == self._found_at
        name = "found-here" if is_here else "found"
        spans = tuple(Span(start, end, name) for start, end, _ in spans)
        return replace(row, spans=overlay_spans(row.spans, spans))

    @property
    def _found_at(self) -> tuple[RoundView, int] | None:
        """The round, and the row of it, with the place that is marked most clearly."""
        if self._found is None or self._found_here is None:
            return None
        view, index = self._found_here
        key = (self._found, view, index, view.shape, view.height)
        if self._known_found_row[0] != key:
            self._known_found_row = key, match_row(self._found, view, index)
        return view, self._known_found_row[1]

    def _style(self, name: str, index: int) -> Style:
        style = self._look(f"round--{name}")
        if self._round(index).id == self.chosen_id:
            chosen = self._look("round--chosen")
            style += Style(bgcolor=chosen.bgcolor, bold=chosen.bold or None)
        return style

    def _look(self, component: str, *, partial: bool = False) -> Style:
        """A component's style; Textual forgets it with each frame."""
        key = f"{component} alone" if partial else component
        if key not in self._looks:
            self._looks[key] = self.get_component_rich_style(component, partial=partial)
        return self._looks[key]

    def _markup(self, names: str) -> Style:
        """How parts of Markdown look that have these names."""
        look = Style()
        for name in names.split():
            own = self._look(f"markup--{name}", partial=True)
            if own.color is not None:
                # A muted colour is a transparent one, which the whole style has blended.
                own += Style(color=self._look(f"markup--{name}").color)
            look += own
        return look

    # The mouse

    def on_click(self, event: Click) -> None:
        if not self.views:
            return
        index, place, row = self._at(event.y)
        if event.chain == 2:
            # Textual would select all that the widget shows.
            event.prevent_default()
            whole = Selection(Offset(0, index * _PARAGRAPHS), Offset(0, (index + 1) * _PARAGRAPHS))
            self.screen.selections = {self: whole}
            return
        if place is None:
            return
        # The marks stand in the last cells, three for each.
        from_end = self.size.width - 1 - event.x
        if place.name == "author" and from_end < 6 and self._mark(index, place, row):
            event.stop()
            self.post_message(self.Rated(self._round(index), 1 if from_end >= 3 else -1))
        elif place.name == "author" and (step := self._version_step(index, place, row, event.x)):
            event.stop()
            self.post_message(self.VersionRequested(self._round(index), step))
        elif place.name == "query" and not self.screen.selections:
            event.stop()
            self.post_message(self.QueryClicked(self._round(index)))
        elif place.fold is not None:
            event.stop()
            self.views[index].toggle_fold(place.fold)
        elif (line := place.text.rows[row]).style == "code-head":
            event.stop()
            self.post_message(self.CodeClicked(place.text.code_at(line.paragraph)))

    def _version_step(self, index: int, place: PartPosition, number: int, x: int) -> int:
        """Which version a click on ``‹ 2/3 ›`` means: the one before (-1) or after (1), else 0."""
        text = place.text.rows[number].text
        start, end = text.rfind("‹"), text.rfind("›")
        if self._round(index).versions < 2 or not 0 <= start < end:
            return 0
        margin = 2 if self.rounds.shape.gap else 0
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
