"""The conversation: its rounds, which of them is chosen, and where the window stands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rich.style import Style
from textual.containers import VerticalScroll
from textual.geometry import Region, Size
from textual.layout import DockArrangeResult
from textual.message import Message
from textual.reactive import Reactive
from textual.scrollbar import ScrollBar
from textual.strip import Strip
from textual.widget import Widget

from chatui.conversation.rounds import Round
from chatui.tui.widgets.round_list import RoundList
from chatui.tui.widgets.round_view import RoundView


class FollowingScroll(VerticalScroll, can_focus=False):
    """Can stay at the end of what grows in it; what is shorter than the view stands at the top."""

    def set_reactive(self, reactive: Reactive[Any], value: Any) -> None:
        """As Textual's, which puts what is shorter than the view at its bottom edge."""
        if reactive in (Widget.scroll_y, Widget.scroll_target_y):
            value = max(0, value)
            if value != self.scroll_y:
                # Textual moves the bar too, and leaves it drawn where it was.
                self.vertical_scrollbar.refresh()
        super().set_reactive(reactive, value)


class ConversationView(FollowingScroll):
    """Shows rounds; stays at the end while a reply grows, unless the user scrolled up."""

    class RoundChosen(Message):
        """Another round is chosen, or none any more."""

    def __init__(self, greeting: Widget, id: str | None = None) -> None:
        """
        Args:
            greeting: shown until there are rounds.
        """
        super().__init__(greeting, id=id)
        self._list = RoundList()
        self._is_markdown: bool | None = None
        self._found: re.Pattern[str] | None = None

    @property
    def views(self) -> list[RoundView]:
        """All rounds, in order."""
        return self._list.views

    @property
    def chosen(self) -> RoundView | None:
        """The round that the user chose, else the last one."""
        return self._chosen or self.last

    @property
    def has_chosen(self) -> bool:
        """Whether the user chose a round."""
        return self._chosen is not None

    @property
    def _chosen(self) -> RoundView | None:
        chosen = self._list.chosen_id
        return None if chosen is None else self.view_of(chosen)

    @property
    def branching_round(self) -> Round | None:
        """The round that the user chose, else the last one with several versions."""
        if self._chosen is not None:
            return self._chosen.round
        rounds = (view.round for view in reversed(self.views))
        return next((round_ for round_ in rounds if round_.versions > 1), None)

    @property
    def rows_below(self) -> int:
        """How many rows stand below what is seen; 0 while the end is followed."""
        follows = self._anchored and not self._anchor_released
        return 0 if follows or not self.views else round(self.max_scroll_y - self.scroll_y)

    @property
    def rounds(self) -> tuple[Round, ...]:
        """All rounds, in order, as they stand."""
        return tuple(view.round for view in self.views)

    @property
    def round_ids(self) -> list[int]:
        """All rounds, in order."""
        return [view.round.id for view in self.views]

    @property
    def last(self) -> RoundView | None:
        """The last round."""
        return self.views[-1] if self.views else None

    @property
    def last_with_folds(self) -> RoundView | None:
        """The last round whose reply has folded parts."""
        return next((view for view in reversed(self.views) if view.has_folds), None)

    def view_of(self, round_id: int) -> RoundView | None:
        """The view of a round; None if the conversation has no such round."""
        return next((view for view in reversed(self.views) if view.round.id == round_id), None)

    async def show(self, rounds: Sequence[Round], greeting: Widget) -> None:
        """Show these rounds, or the greeting if there are none."""
        self._list.choose(None)
        self._list.show(rounds, self._is_markdown)
        with self.app.batch_update():
            await self.remove_children([each for each in self.children if each is not self._list])
            self._list.display = bool(rounds)
            if not rounds:
                await self.mount(greeting)
            elif not self._list.is_attached:
                await self.mount(self._list)
        self.anchor(bool(rounds))
        if not rounds:
            self.scroll_home(animate=False, immediate=True)

    def add(self, round_: Round) -> RoundView:
        """Show one more round behind its parent, and look at it; other versions of it go."""
        self.choose_round(None)
        if not self.views:
            self.remove_children([each for each in self.children if each is not self._list])
            self._list.display = True
            if not self._list.is_attached:
                self.mount(self._list)
        ids = [None, *self.round_ids]
        if round_.parent_id in ids:
            self._list.truncate(ids.index(round_.parent_id))
        self._list.add(round_, self._is_markdown)
        self.anchor()
        return self.views[-1]

    def replace(self, round_: Round) -> None:
        """Show a round as it is now."""
        view = self.view_of(round_.id)
        if view is not None:
            view.update(round_)

    def choose(self, step: int) -> None:
        """Choose the round ``step`` places after the chosen one; behind the last, none is."""
        place = (self.views.index(self._chosen) if self._chosen else len(self.views)) + step
        self.choose_round(self.views[max(place, 0)].round.id if place < len(self.views) else None)

    def choose_round(self, round_id: int | None) -> None:
        """Mark a round as the one that the next command is about; None: the last again."""
        if round_id != self._list.chosen_id:
            self.post_message(self.RoundChosen())
        self._list.choose(round_id)
        if self._chosen is None:
            self.anchor(bool(self.views))
        else:
            self.release_anchor()
            self.call_after_refresh(self._scroll_to_chosen)

    def _scroll_to_chosen(self) -> None:
        if self._chosen is not None:
            self._list.scroll_to_round(self._chosen)

    def highlight(self, pattern: re.Pattern[str] | None) -> None:
        """Mark what is found, in all rounds; None marks nothing any more."""
        self._found = pattern
        self._list.highlight(pattern)

    def show_match(self, round_id: int, index: int) -> None:
        """Bring a place that is marked to the screen, the ``index``-th of its round."""
        view = self.view_of(round_id)
        if view is not None:
            self._list.highlight(self._found, (view, index))
            self.release_anchor()
            self.call_after_refresh(self._list.scroll_to_match)

    def toggle_markdown(self) -> bool | None:
        """Show all replies the other way than the chosen one; whether that is Markdown.

        None: there is no reply.
        """
        if self.chosen is None:
            return None
        self._is_markdown = not self.chosen.is_markdown
        for each in self.views:
            each.show_markdown(self._is_markdown)
        return self._is_markdown

    def follow(self) -> None:
        """Go to the end, and stay there as a reply grows."""
        self.anchor(bool(self.views))

    def scroll_pages(self, pages: int) -> None:
        """Scroll by pages, up where ``pages`` is negative."""
        if pages < 0:
            self.release_anchor()
        # At once: what is laid out until the next frame may move what is seen.
        rows = pages * self.container_size.height
        self.scroll_relative(y=rows, animate=False, immediate=True)

    def render_lines(self, crop: Region) -> list[Strip]:
        """The background alone, which Textual would make anew, row by row, as a reply grows."""
        background = self.background_colors[1]
        strip = Strip.blank(crop.width, Style.from_color(bgcolor=background.rich_color))
        for line_filter in self.get_line_filters():
            strip = strip.apply_filter(line_filter, background)
        return [strip] * crop.height

    # Where the window stands

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._list.is_attached:
            self._list.on_scroll()

    def arrange(self, size: Size, optimal: bool = False) -> DockArrangeResult:
        """As Textual's; what is seen stays where it is when rounds above it were laid out."""
        arranged = super().arrange(size, optimal)
        if shift := self._list.rounds.shift:
            self._list.rounds.shift = 0
            y = min(self.scroll_y + shift, arranged.total_region.bottom - size.height)
            for reactive in (Widget.scroll_y, Widget.scroll_target_y):
                self.set_reactive(reactive, y)
            self.vertical_scrollbar.set_reactive(ScrollBar.position, self.scroll_y)
            # Who watches it is told when the layout is done.
            self.call_later(self.mutate_reactive, Widget.scroll_y)
        return arranged
