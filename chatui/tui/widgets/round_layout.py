"""The vertical layout of rounds; heights far from the viewport are estimates."""

from __future__ import annotations

import time
from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

from chatui.tui.widgets.round_view import RoundView, Shape


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
        before = self._heights[index] if self.views else 1
        self.shape = shape
        self._heights = list(map(self._estimate, self.views))
        self._known_tops = None
        if self.views:
            self.shift += self.tops[index] + inside * self._heights[index] // before - top

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
