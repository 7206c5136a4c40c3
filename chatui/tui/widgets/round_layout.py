"""The layout of rounds: lazy, with estimated heights far from the viewport."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import ClassVar, NamedTuple, cast

from textual.geometry import Region, Size
from textual.widget import Widget

from chatui.conversation.rounds import Round
from chatui.tui.widgets.round_view import RoundView, Shape

MARGIN_CELLS = 2
"""Cells left of the text; 0 on a short screen."""

VISIBLE_LAYOUT_SECONDS = 0.02
"""Processor time that one frame may spend on laying out visible rows."""

STEP_SECONDS = 0.008
"""Processor time of one step that lays out rows near the viewport in the background."""

BETWEEN_STEPS_SECONDS = 0.008
"""Pause between two steps, in which keys are handled and frames drawn."""


class Viewport(NamedTuple):
    """The visible rows.

    Attributes:
        top: the first visible row; None if the last rows are visible.
        rows: number of visible rows.
    """

    top: int | None
    rows: int


class RoundLayout:
    """The height of each round; a round is laid out when it comes near the viewport.

    Attributes:
        views: the rounds, from top to bottom.
        shape: what they are laid out for.
        shift: rows that the visible rows moved down, because heights above them were estimated
            too low (negative: too high). The widget that scrolls adds it and sets it to 0.
    """

    def __init__(self) -> None:
        self.views: list[RoundView] = []
        self.shape = Shape(1, 0)
        self.shift = 0
        self._heights: list[int] = []
        self._known_tops: list[int] | None = None

    @property
    def tops(self) -> list[int]:
        """The first row of each round, and the total height as the last item."""
        if self._known_tops is None:
            self._known_tops = [0, *accumulate(self._heights)]
        return self._known_tops

    def add(self, view: RoundView) -> None:
        """Append a round."""
        self.views.append(view)
        self._heights.append(self._estimate(view))
        self._known_tops = None

    def truncate(self, count: int) -> None:
        """Remove all but the first ``count`` rounds."""
        del self.views[count:], self._heights[count:]
        self._known_tops = None

    def index_at(self, row: int) -> int:
        """Return the index of the round at a row; of the first or last one for rows outside."""
        return max(0, min(bisect_right(self.tops, row), len(self.views)) - 1)

    def update_height(self, index: int) -> int:
        """Take over the height of a changed round and return the rows that it grew by."""
        grown = self.views[index].height + self.shape.gap - self._heights[index]
        if grown:
            self._heights[index] += grown
            self._known_tops = None
        return grown

    def set_shape(self, shape: Shape, viewport: Viewport) -> None:
        """Estimate all heights for another shape; the round at the top of the viewport stays."""
        top = self.first_row(viewport)
        index = self.index_at(top)
        inside = top - self.tops[index]
        self.shape, before = shape, self._heights
        self._heights = list(map(self._estimate, self.views))
        self._known_tops = None
        if self.views:
            inside = inside * self._heights[index] // before[index]
            self.shift += self.tops[index] + inside - top

    def lay_out(self, viewport: Viewport, near: int, seconds: float) -> bool:
        """Lay out the visible rounds, then those within ``near`` rows of them.

        Args:
            seconds: processor time after which it stops; it makes one step at least.

        Returns:
            True if anything was laid out.
        """
        began, changed = time.thread_time(), False
        while (index := self.next_incomplete(viewport, near)) is not None:
            self._lay_out_one(index, viewport)
            changed = True
            if time.thread_time() - began > seconds:
                break
        return changed

    def lay_out_at(self, index: int, inside: int, above: int, rows: int) -> int:
        """Lay out a viewport that has a row of a round ``above`` rows below its top.

        Args:
            inside: the row, counted from the top of the round.
            rows: number of visible rows.

        Returns:
            The first row of that viewport.
        """
        while True:
            self.shift = 0
            top = max(0, min(self.tops[index] + inside - above, self.tops[-1] - rows))
            incomplete = self.next_incomplete(Viewport(top, rows), 0)
            if incomplete is None:
                return top
            self._lay_out_one(incomplete, Viewport(None, rows))

    def lay_out_whole(self, index: int) -> None:
        """Lay out all rows of a round."""
        while self.views[index].shape != self.shape or self.views[index].has_unread:
            self._lay_out_one(index, Viewport(None, 0))

    def next_incomplete(self, viewport: Viewport, near: int) -> int | None:
        """Return the index of the next round to lay out; None if all are complete.

        Visible rounds come first, then those within ``near`` rows of them.
        """
        top = self.first_row(viewport)
        bottom = top + viewport.rows
        for first, stop in ((top, bottom), (top - near, bottom + near)):
            for index in range(self.index_at(first), len(self.views)):
                view, missing = self.views[index], stop - self.tops[index]
                if missing <= 0:
                    break
                if view.shape != self.shape or view.read_height < min(view.height, missing):
                    return index
        return None

    def _lay_out_one(self, index: int, viewport: Viewport) -> None:
        """Lay out a round, or more rows of it, and keep the visible rows in place."""
        view, before = self.views[index], self._heights[index]
        inside = self.first_row(viewport) - self.tops[index]
        known = 0
        if view.shape == self.shape:
            known = view.read_height
            view.read_more()
        else:
            view.lay_out(self.shape)
        grown = self.update_height(index)
        if viewport.top is not None and inside > known:
            self.shift += round(grown * min(1.0, (inside - known) / max(1, before - known)))

    def first_row(self, viewport: Viewport) -> int:
        """Return the first visible row."""
        if viewport.top is None:
            return max(0, self.tops[-1] - viewport.rows)
        return viewport.top + self.shift

    def _estimate(self, view: RoundView) -> int:
        return view.estimated_height(self.shape) + self.shape.gap


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
        if view in self.views and view.shape == self.round_layout.shape:
            has_grown = bool(self.round_layout.update_height(self.views.index(view)))
            x, y, width, height = self.round_region(view)
            self.refresh(Region(x, y + first_row, width, height - first_row), layout=has_grown)

    @property
    def _viewport(self) -> Viewport:
        """The visible rows, according to the parent's scroll position."""
        scroller = cast(Widget, self.parent)
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
        if view not in self.views:
            return
        region, rows = self.round_region(view), self._visible_rows
        top = self.round_layout.first_row(self._viewport)
        is_laid_out = view.shape == self.round_layout.shape
        if not (is_laid_out and top <= region.y <= region.bottom <= top + rows):
            self.round_layout.lay_out_whole(self.views.index(view))
            height = self.round_region(view).height
            is_below = region.y > top and height < rows
            self._scroll_to_row(view, 0, rows - height if is_below else 0)

    def _scroll_to_row(self, view: RoundView, row: int, above: int) -> None:
        top = self.round_layout.lay_out_at(self.views.index(view), row, above, self._visible_rows)
        self.round_layout.shift = top - self.round_layout.first_row(self._viewport)
        self.refresh(layout=True)

    def _lay_out_visible(self) -> bool:
        # A resize lays out several times in a row; all of them share one budget.
        now, spent = time.monotonic(), time.thread_time()
        if now - self._laying_out_since > 2 * VISIBLE_LAYOUT_SECONDS:
            self._laying_out_since, self._laid_out_for = now, 0.0
        seconds = VISIBLE_LAYOUT_SECONDS - self._laid_out_for
        changed = self.round_layout.lay_out(self._viewport, 0, seconds)
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
