"""The rounds of a conversation in one widget: which are laid out, and which part is seen."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import ClassVar

from textual.geometry import Region, Size
from textual.widget import Widget

from chatui.conversation.rounds import Round
from chatui.tui.widgets.round_layout import RoundLayout, Window
from chatui.tui.widgets.round_view import RoundView, Shape

MARGIN = 2
"""Cells left of the text; none where the terminal is short, and probably narrow."""

SEEN_SECONDS = 0.02
"""So long the screen may wait for what is about to be seen; the rest comes a moment later."""

STEP_SECONDS = 0.008
"""What is near the window is laid out before it is seen, in steps of about this length."""

BETWEEN_STEPS_SECONDS = 0.008
"""Keys are taken and frames drawn between two steps."""


class LaidOutRounds(Widget):
    """Lays rounds out as they come near what is seen; what holds it scrolls them.

    Attributes:
        rounds: where each round stands.
    """

    VIEW: ClassVar[type[RoundView]] = RoundView

    def __init__(self) -> None:
        super().__init__()
        self.rounds = RoundLayout()
        self._rows_seen = 0
        self._laying_out_since = self._laid_out_for = 0.0
        self._will_go_on = False

    @property
    def views(self) -> list[RoundView]:
        """The rounds, from top to bottom."""
        return self.rounds.views

    def show(self, rounds: Iterable[Round], is_markdown: bool | None) -> None:
        """Show these rounds and no others."""
        self.rounds = RoundLayout()
        if self.is_attached and self in self.screen.selections:
            self.screen.clear_selection()
        for round_ in rounds:
            self.add(round_, is_markdown)
        self.refresh(layout=True)

    def add(self, round_: Round, is_markdown: bool | None) -> None:
        """Show one more round at the end."""
        self.rounds.add(self.VIEW(round_, self._on_change, is_markdown=is_markdown))
        self.refresh(layout=True)

    def keep(self, count: int) -> None:
        """Take away all but the first ``count`` rounds."""
        self.rounds.keep(count)
        self.refresh(layout=True)

    def region_of(self, view: RoundView) -> Region:
        """Where a round stands."""
        index = self.views.index(view)
        top, bottom = self.rounds.tops[index : index + 2]
        return Region(0, top, self.size.width, bottom - top - self.rounds.shape.gap)

    def _on_change(self, view: RoundView, first_row: int) -> None:
        if view.shape != self.rounds.shape or view not in self.views:
            return
        index = self.views.index(view)
        has_grown = bool(self.rounds.measure(index))
        region = self.region_of(view)
        changed = Region(0, region.y + first_row, region.width, region.height - first_row)
        self.refresh(changed, layout=has_grown)

    @property
    def _window(self) -> Window:
        """What is seen, as the one that scrolls has it."""
        scroller = self.parent
        assert isinstance(scroller, Widget)
        follows = scroller._anchored and not scroller._anchor_released
        return Window(None if follows else round(scroller.scroll_y), self._rows_seen)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        self._rows_seen = container.height
        is_short = self.screen.has_class("-short")
        shape = Shape(max(1, width - (0 if is_short else MARGIN + 1)), 0 if is_short else 1)
        if shape != self.rounds.shape:
            self.rounds.take_shape(shape, self._window)
        self._lay_out_seen()
        return self.rounds.tops[-1]

    def on_scroll(self) -> None:
        """Another part is about to be seen."""
        if self._rows_seen and self._lay_out_seen():
            self.refresh(layout=True)

    def bring_into_view(self, view: RoundView) -> None:
        """Scroll as little as is needed to see a round, or its beginning."""
        region, rows = self.region_of(view), self._rows_seen
        top = self.rounds.first_row(self._window)
        if view.shape != self.rounds.shape or not top <= region.y <= region.bottom <= top + rows:
            self.rounds.lay_out_whole(self.views.index(view))
            height = self.region_of(view).height
            is_below = region.y > top and height < rows
            self._bring(view, 0, rows - height if is_below else 0)

    def _bring(self, view: RoundView, row: int, above: int) -> None:
        top = self.rounds.bring(self.views.index(view), row, above, self._rows_seen)
        scroller = self.parent
        assert isinstance(scroller, Widget)
        self.rounds.shift = top - round(scroller.scroll_y)
        self.refresh(layout=True)

    def _lay_out_seen(self) -> bool:
        # A new size is laid out several times in a row, which must not take this long each time.
        now, spent = time.monotonic(), time.thread_time()
        if now - self._laying_out_since > 2 * SEEN_SECONDS:
            self._laying_out_since, self._laid_out_for = now, 0.0
        changed = self.rounds.lay_out(self._window, 0, SEEN_SECONDS - self._laid_out_for)
        self._laid_out_for += time.thread_time() - spent
        self._go_on_later()
        return changed

    def _go_on_later(self) -> None:
        """Lay out what is near, and what is seen and took too long."""
        window = self._window
        if not self._will_go_on and self.rounds.next(window, window.rows) is not None:
            self._will_go_on = True
            # Not call_later: what a widget calls later runs in one go, before anything is drawn.
            self.set_timer(BETWEEN_STEPS_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._will_go_on = False
        window = self._window
        if self.rounds.lay_out(window, window.rows, STEP_SECONDS):
            self.refresh(layout=True)
        self._go_on_later()
