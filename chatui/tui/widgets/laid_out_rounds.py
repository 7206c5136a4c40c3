"""The base of the widgets that show rounds: lays them out lazily, and scrolls to them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import ClassVar

from textual.geometry import Region, Size
from textual.widget import Widget

from chatui.conversation.rounds import Round
from chatui.tui.widgets.round_layout import RoundLayout, Viewport
from chatui.tui.widgets.round_view import RoundView, Shape

MARGIN_CELLS = 2
"""Cells left of the text; 0 on a short screen."""

VISIBLE_LAYOUT_SECONDS = 0.02
"""Processor time that one frame may spend on laying out visible rows."""

STEP_SECONDS = 0.008
"""Processor time of one step that lays out rows near the viewport in the background."""

BETWEEN_STEPS_SECONDS = 0.008
"""Pause between two steps, in which keys are handled and frames drawn."""


class LaidOutRounds(Widget):
    """Lays rounds out as they come near the viewport; its parent scrolls.

    Attributes:
        round_layout: the positions and heights of the rounds.
    """

    VIEW: ClassVar[type[RoundView]] = RoundView

    def __init__(self) -> None:
        super().__init__()
        self.round_layout = RoundLayout()
        self._visible_rows = 0
        self._laying_out_since = self._laid_out_for = 0.0
        self._layout_scheduled = False

    @property
    def views(self) -> list[RoundView]:
        """The rounds, from top to bottom."""
        return self.round_layout.views

    def show(self, rounds: Iterable[Round], is_markdown: bool | None) -> None:
        """Replace the rounds."""
        self.round_layout = RoundLayout()
        if self.is_attached and self in self.screen.selections:
            self.screen.clear_selection()
        for round_ in rounds:
            self.add(round_, is_markdown)
        self.refresh(layout=True)

    def add(self, round_: Round, is_markdown: bool | None) -> None:
        """Append a round."""
        self.round_layout.add(self.VIEW(round_, self._on_change, is_markdown=is_markdown))
        self.refresh(layout=True)

    def truncate(self, count: int) -> None:
        """Remove all but the first ``count`` rounds."""
        self.round_layout.truncate(count)
        self.refresh(layout=True)

    def round_region(self, view: RoundView) -> Region:
        """Return the region of a round in the widget."""
        index = self.views.index(view)
        top, bottom = self.round_layout.tops[index : index + 2]
        return Region(0, top, self.size.width, bottom - top - self.round_layout.shape.gap)

    def _on_change(self, view: RoundView, first_row: int) -> None:
        if view.shape != self.round_layout.shape or view not in self.views:
            return
        index = self.views.index(view)
        has_grown = bool(self.round_layout.update_height(index))
        region = self.round_region(view)
        changed = Region(0, region.y + first_row, region.width, region.height - first_row)
        self.refresh(changed, layout=has_grown)

    @property
    def _viewport(self) -> Viewport:
        """The visible rows, according to the parent's scroll position."""
        scroller = self.parent
        assert isinstance(scroller, Widget)
        follows = scroller._anchored and not scroller._anchor_released
        return Viewport(None if follows else round(scroller.scroll_y), self._visible_rows)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        self._visible_rows = container.height
        is_short = self.screen.has_class("-short")
        shape = Shape(max(1, width - (0 if is_short else MARGIN_CELLS + 1)), 0 if is_short else 1)
        if shape != self.round_layout.shape:
            self.round_layout.set_shape(shape, self._viewport)
        self._lay_out_visible()
        return self.round_layout.tops[-1]

    def on_scroll(self) -> None:
        """Lay out the rows that have become visible."""
        if self._visible_rows and self._lay_out_visible():
            self.refresh(layout=True)

    def scroll_to_round(self, view: RoundView) -> None:
        """Scroll the least distance that makes a round visible, or its first rows."""
        region, rows = self.round_region(view), self._visible_rows
        top = self.round_layout.first_row(self._viewport)
        if (
            view.shape != self.round_layout.shape
            or not top <= region.y <= region.bottom <= top + rows
        ):
            self.round_layout.lay_out_whole(self.views.index(view))
            height = self.round_region(view).height
            is_below = region.y > top and height < rows
            self._scroll_to_row(view, 0, rows - height if is_below else 0)

    def _scroll_to_row(self, view: RoundView, row: int, above: int) -> None:
        top = self.round_layout.lay_out_at(self.views.index(view), row, above, self._visible_rows)
        scroller = self.parent
        assert isinstance(scroller, Widget)
        self.round_layout.shift = top - round(scroller.scroll_y)
        self.refresh(layout=True)

    def _lay_out_visible(self) -> bool:
        # A resize lays out several times in a row; all of them share one budget.
        now, spent = time.monotonic(), time.thread_time()
        if now - self._laying_out_since > 2 * VISIBLE_LAYOUT_SECONDS:
            self._laying_out_since, self._laid_out_for = now, 0.0
        changed = self.round_layout.lay_out(
            self._viewport, 0, VISIBLE_LAYOUT_SECONDS - self._laid_out_for
        )
        self._laid_out_for += time.thread_time() - spent
        self._schedule_layout()
        return changed

    def _schedule_layout(self) -> None:
        """Plan a step that lays out rows near the viewport, if any are missing."""
        viewport = self._viewport
        if (
            not self._layout_scheduled
            and self.round_layout.next_incomplete(viewport, viewport.rows) is not None
        ):
            self._layout_scheduled = True
            # call_later would run all steps before the next frame.
            self.set_timer(BETWEEN_STEPS_SECONDS, self._continue_layout)

    def _continue_layout(self) -> None:
        self._layout_scheduled = False
        viewport = self._viewport
        if self.round_layout.lay_out(viewport, viewport.rows, STEP_SECONDS):
            self.refresh(layout=True)
        self._schedule_layout()
