"""The scrolling view of a conversation, and the hint that more of it is below."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rich.style import Style
from textual.await_remove import AwaitRemove
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.geometry import Region, Size
from textual.layout import DockArrangeResult
from textual.message import Message
from textual.reactive import Reactive
from textual.scrollbar import ScrollBar
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.tui.widgets.match_highlights import MatchHighlights
from chatui.tui.widgets.round_list import RoundList
from chatui.tui.widgets.round_view import RoundView


class FollowingScroll(VerticalScroll, can_focus=False):
    """Follows the end of growing content; content shorter than the view stays at the top."""

    def set_reactive(self, reactive: Reactive[Any], value: Any) -> None:
        """Keep scroll positions at 0 or more; an anchored view of short content would go below."""
        if reactive in (Widget.scroll_y, Widget.scroll_target_y):
            value = max(0, value)
            if value != self.scroll_y:
                # An anchored view moves its scroll bar without drawing it again.
                self.vertical_scrollbar.refresh()
        super().set_reactive(reactive, value)


class ConversationView(FollowingScroll):
    """Shows rounds, and follows a growing reply unless the user scrolled up."""

    class RoundChosen(Message):
        """The chosen round changed."""

    def __init__(self, greeting: Widget, id: str | None = None) -> None:
        """
        Args:
            greeting: shown while there are no rounds.
        """
        super().__init__(greeting, id=id)
        self._list = RoundList()
        self._is_markdown: bool | None = None

    @property
    def views(self) -> list[RoundView]:
        """The views of all rounds, in order."""
        return self._list.views

    @property
    def round_ids(self) -> list[int]:
        """The ids of all rounds, in order."""
        return [view.round.id for view in self.views]

    @property
    def last(self) -> RoundView | None:
        """The last round; None without rounds."""
        return self.views[-1] if self.views else None

    @property
    def last_with_folds(self) -> RoundView | None:
        """The last round whose reply has foldable parts; or None."""
        return next((view for view in reversed(self.views) if view.has_folds), None)

    @property
    def has_chosen(self) -> bool:
        """True if the user chose a round."""
        return self._list.chosen is not None

    @property
    def chosen(self) -> RoundView | None:
        """The round that the user chose, else the last one; None without rounds."""
        return self._list.chosen or self.last

    @property
    def branching_round(self) -> Round | None:
        """The round that the user chose, else the last one with several versions; or None."""
        if self._list.chosen is not None:
            return self._list.chosen.round
        rounds = (view.round for view in reversed(self.views))
        return next((round_ for round_ in rounds if round_.versions > 1), None)

    @property
    def rows_below(self) -> int:
        """Number of rows below the visible ones; 0 while the view follows its end."""
        follows = self._anchored and not self._anchor_released
        return 0 if follows or not self.views else round(self.max_scroll_y - self.scroll_y)

    def view_of(self, round_id: int | None) -> RoundView | None:
        """Return the view of a round; None if the round is not shown."""
        return next((view for view in reversed(self.views) if view.round.id == round_id), None)

    async def show(self, rounds: Sequence[Round], greeting: Widget) -> None:
        """Show these rounds, or the greeting if there are none."""
        self._list.choose(None)
        self._list.show(rounds, self._is_markdown)
        with self.app.batch_update():
            await self._remove_greeting()
            self._list.display = bool(rounds)
            if not rounds:
                await self.mount(greeting)
            elif not self._list.is_attached:
                await self.mount(self._list)
        self.follow()
        if not rounds:
            self.scroll_home(animate=False, immediate=True)

    def add(self, round_: Round) -> RoundView:
        """Show a round after its parent, in place of what follows there, and scroll to the end."""
        self.choose_round(None)
        if not self.views:
            self._remove_greeting()
            self._list.display = True
            if not self._list.is_attached:
                self.mount(self._list)
        ids = [None, *self.round_ids]
        if round_.parent_id in ids:
            self._list.truncate(ids.index(round_.parent_id))
        self._list.add(round_, self._is_markdown)
        self.follow()
        return self.views[-1]

    def _remove_greeting(self) -> AwaitRemove:
        return self.remove_children([each for each in self.children if each is not self._list])

    def replace(self, round_: Round) -> None:
        """Update a shown round."""
        if (view := self.view_of(round_.id)) is not None:
            view.update(round_)

    def choose(self, step: int) -> None:
        """Choose the round ``step`` places after the chosen one; after the last, choose none."""
        chosen = self._list.chosen
        place = (self.views.index(chosen) if chosen else len(self.views)) + step
        self.choose_round(self.views[max(place, 0)].round.id if place < len(self.views) else None)

    def choose_round(self, round_id: int | None) -> None:
        """Choose the round that the next command applies to; None chooses none."""
        chosen = self.view_of(round_id)
        if chosen is not self._list.chosen:
            self.post_message(self.RoundChosen())
        self._list.choose(chosen)
        if chosen is None:
            self.follow()
        else:
            self.release_anchor()
            self.call_after_refresh(self._list.scroll_to_round, chosen)

    def highlight(
        self, pattern: re.Pattern[str] | None, round_id: int | None = None, index: int = 0
    ) -> None:
        """Highlight the matches of a pattern in all rounds; None removes the highlights.

        Args:
            round_id, index: the round of the current match, which is scrolled to, and its index
                among the matches of the round.
        """
        view = self.view_of(round_id)
        self._list.highlight(MatchHighlights(pattern, view, index))
        if view is not None:
            self.release_anchor()
            self.call_after_refresh(self._list.scroll_to_match)

    def toggle_markdown(self) -> bool | None:
        """Switch all replies between Markdown and plain text.

        Returns:
            True if they are shown as Markdown now; None if there are no rounds.
        """
        if self.chosen is None:
            return None
        self._is_markdown = not self.chosen.is_markdown
        for each in self.views:
            each.show_markdown(self._is_markdown)
        return self._is_markdown

    def follow(self) -> None:
        """Scroll to the end, and follow it as a reply grows."""
        self.anchor(bool(self.views))

    def scroll_pages(self, pages: int) -> None:
        """Scroll down by pages, or up if ``pages`` is negative."""
        if pages < 0:
            self.release_anchor()
        # Immediately: a layout before the next frame may change the scroll position.
        rows = pages * self.container_size.height
        self.scroll_relative(y=rows, animate=False, immediate=True)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Return blank rows from one strip; Textual renders each of them whenever a reply grows."""
        background = self.background_colors[1]
        strip = Strip.blank(crop.width, Style.from_color(bgcolor=background.rich_color))
        for line_filter in self.get_line_filters():
            strip = strip.apply_filter(line_filter, background)
        return [strip] * crop.height

    # The scroll position

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if self._list.is_attached:
            self._list.on_scroll()

    def arrange(self, size: Size, optimal: bool = False) -> DockArrangeResult:
        """Arrange the children, and keep the visible rows in place if rounds above changed."""
        arranged = super().arrange(size, optimal)
        if shift := self._list.round_layout.shift:
            self._list.round_layout.shift = 0
            y = min(self.scroll_y + shift, arranged.total_region.bottom - size.height)
            for reactive in (Widget.scroll_y, Widget.scroll_target_y):
                self.set_reactive(reactive, y)
            self.vertical_scrollbar.set_reactive(ScrollBar.position, self.scroll_y)
            # Watchers run after the layout.
            self.call_later(self.mutate_reactive, Widget.scroll_y)
        return arranged


class MoreBelow(Static):
    """A line below the conversation, shown while its end is not visible; a click scrolls there."""

    def __init__(self, conversation: ConversationView) -> None:
        super().__init__()
        self._conversation = conversation
        self.display = False

    def on_mount(self) -> None:
        self.watch(self._conversation, "scroll_y", self._count_rows, init=False)
        # A layout may change the height of the rounds or of the view.
        self.screen.screen_layout_refresh_signal.subscribe(self, lambda _: self._count_rows())

    def _count_rows(self) -> None:
        rows = self._conversation.rows_below
        # Hiding this line makes room for one more row.
        self.display = rows > int(self.display)
        # A layout would call this again.
        self.update(Content(say("tui.more_below", count=f"{rows:,}")), layout=False)

    def on_click(self, event: Click) -> None:
        event.stop()
        self._conversation.follow()
