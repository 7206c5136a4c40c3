"""Where rounds stand below each other: what is far from the viewport is an estimate."""

from __future__ import annotations

import time
from bisect import bisect_right
from itertools import accumulate
from typing import NamedTuple

from chatui.tui.widgets.round_view import RoundView, Shape


class Viewport(NamedTuple):
    """What is seen of the rows.

    Attributes:
        top: the first row; None if the last rows are seen, however many there are.
        rows: how many.
    """

    top: int | None
    rows: int


class RoundLayout:
    """The height of each round. One is laid out when it comes near the viewport.

    Attributes:
        views: the rounds, from top to bottom.
        shape: what they are laid out for.
        shift: where estimates above the viewport were wrong, what is seen has moved down by so many
            rows; whoever scrolls takes it up and sets it to 0.
    """

    def __init__(self) -> None:
        self.views: list[RoundView] = []
        self.shape = Shape(1, 0)
        self.shift = 0
        self._heights: list[int] = []
        self._known_tops: list[int] | None = None

    @property
    def tops(self) -> list[int]:
        """The first row of each round; behind them the height of all."""
        if self._known_tops is None:
            self._known_tops = [0, *accumulate(self._heights)]
        return self._known_tops

    def add(self, view: RoundView) -> None:
        """One more round at the end."""
        self.views.append(view)
        self._heights.append(self._estimate(view))
        self._known_tops = None

    def truncate(self, count: int) -> None:
        """Keep the first ``count`` rounds."""
        del self.views[count:], self._heights[count:]
        self._known_tops = None

    def index_at(self, row: int) -> int:
        """The round that a row belongs to; rows outside belong to the first and the last."""
        return max(0, min(bisect_right(self.tops, row), len(self.views)) - 1)

    def update_height(self, index: int) -> int:
        """Look at the height of a round that has changed; by how many rows it grew."""
        grown = self.views[index].height + self.shape.gap - self._heights[index]
        if grown:
            self._heights[index] += grown
            self._known_tops = None
        return grown

    def set_shape(self, shape: Shape, viewport: Viewport) -> None:
        """Estimate all heights anew; the round at the top of the viewport stays there."""
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
        """Lay out what is seen, then what stands up to ``near`` rows from it.

        Args:
            seconds: about so long at most, but one step at least.

        Returns:
            Whether anything was laid out.
        """
        began, changed = time.thread_time(), False
        while (index := self.next_incomplete(viewport, near)) is not None:
            self._lay_out_one(index, viewport)
            changed = True
            if time.thread_time() - began > seconds:
                break
        return changed

    def lay_out_at(self, index: int, inside: int, above: int, rows: int) -> int:
        """Lay out all that is seen where a row of a round has ``above`` rows over it.

        Args:
            inside: which row of the round.
            rows: how many are seen.

        Returns:
            The first row that is seen then; where the viewport stood before does not matter.
        """
        while True:
            self.shift = 0
            top = max(0, min(self.tops[index] + inside - above, self.tops[-1] - rows))
            missing = self.next_incomplete(Viewport(top, rows), 0)
            if missing is None:
                return top
            self._lay_out_one(missing, Viewport(None, rows))

    def lay_out_whole(self, index: int) -> None:
        """Lay out all rows of a round."""
        while self.views[index].shape != self.shape or self.views[index].has_unread:
            self._lay_out_one(index, Viewport(None, 0))

    def next_incomplete(self, viewport: Viewport, near: int) -> int | None:
        """The round that is to be laid out next, or read on; None if nothing is missing."""
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
        """Lay out a round, or read on in it; what is seen stays where it is."""
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
        """The first row that is seen."""
        if viewport.top is None:
            return max(0, self.tops[-1] - viewport.rows)
        return viewport.top + self.shift

    def _estimate(self, view: RoundView) -> int:
        return view.estimated_height(self.shape) + self.shape.gap
