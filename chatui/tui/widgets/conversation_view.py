"""The conversation: the last rounds, and earlier ones as the user scrolls up to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from textual.containers import VerticalScroll
from textual.reactive import Reactive
from textual.widget import Widget

from chatui.conversation.rounds import Round
from chatui.tui.widgets.round_view import RoundView

ROUNDS_AT_ONCE = 20
"""So many rounds are mounted when a conversation opens, and each time the top comes near."""


class ConversationView(VerticalScroll, can_focus=False):
    """Shows rounds; stays at the end while a reply grows, unless the user scrolled up."""

    def __init__(self, greeting: Widget, id: str | None = None) -> None:
        """
        Args:
            greeting: shown until there are rounds.
        """
        super().__init__(greeting, id=id)
        self._rounds: list[Round] = []
        self._first_shown = 0
        self._loading_earlier = False
        self._chosen: int | None = None
        self._is_markdown: bool | None = None
        self._found: re.Pattern[str] | None = None

    @property
    def chosen(self) -> RoundView | None:
        """The round that the user chose, else the last one."""
        chosen = None if self._chosen is None else self.view_of(self._chosen)
        return chosen or self.last

    @property
    def branching(self) -> Round | None:
        """The round that the user chose, else the last one with several versions."""
        if self._chosen is not None:
            return next((each for each in self._rounds if each.id == self._chosen), None)
        return next((each for each in reversed(self._rounds) if each.versions > 1), None)

    @property
    def rows_below(self) -> int:
        """How many rows stand below what is seen; 0 while the end is followed."""
        follows = self._anchored and not self._anchor_released
        return 0 if follows or not self._rounds else round(self.max_scroll_y - self.scroll_y)

    @property
    def rounds(self) -> tuple[Round, ...]:
        """All rounds of the conversation, mounted or not, in order, as they were when shown."""
        ended = {view.round.id: view.round for view in self.query_children(RoundView)}
        return tuple(ended.get(each.id, each) for each in self._rounds)

    @property
    def round_ids(self) -> list[int]:
        """All rounds of the conversation, mounted or not, in order."""
        return [round_.id for round_ in self._rounds]

    @property
    def last(self) -> RoundView | None:
        """The last round."""
        views = self.query_children(RoundView)
        return views.last() if views else None

    @property
    def last_with_folds(self) -> RoundView | None:
        """The last round whose reply has folded parts."""
        views = reversed(self.query_children(RoundView))
        return next((view for view in views if view.has_folds), None)

    def view_of(self, round_id: int) -> RoundView | None:
        """The view of a round; None where it is not mounted."""
        for view in reversed(self.query_children(RoundView)):
            if view.round.id == round_id:
                return view
        return None

    async def show(self, rounds: Sequence[Round], greeting: Widget) -> None:
        """Show these rounds, or the greeting if there are none."""
        self._rounds = list(rounds)
        self._chosen = None
        self._first_shown = max(0, len(self._rounds) - ROUNDS_AT_ONCE)
        with self.app.batch_update():
            await self.remove_children()
            views = self._views(self._first_shown, len(self._rounds))
            await self.mount_all(views or [greeting])
        self.anchor(bool(self._rounds))
        if not self._rounds:
            self.scroll_home(animate=False, immediate=True)

    def add(self, round_: Round) -> RoundView:
        """Show one more round behind its parent, and look at it; other versions of it go."""
        if not self._rounds:
            # The greeting.
            self.remove_children()
        self.choose_round(None)
        self._forget_far_views()
        self._cut_behind(round_.parent_id)
        self._rounds.append(round_)
        (view,) = self._views(len(self._rounds) - 1, len(self._rounds))
        self.mount(view)
        self.anchor()
        return view

    def replace(self, round_: Round) -> None:
        """Show a round as it is now, also where it is scrolled to again later."""
        self._rounds = [round_ if each.id == round_.id else each for each in self._rounds]
        view = self.view_of(round_.id)
        if view is not None:
            view.end(round_)

    def _cut_behind(self, round_id: int | None) -> None:
        """Take away what follows a round; None takes all."""
        ids = [None, *(each.id for each in self._rounds)]
        kept = ids.index(round_id) if round_id in ids else len(self._rounds)
        gone = {each.id for each in self._rounds[kept:]}
        if not gone:
            return
        self._rounds = self._rounds[:kept]
        views = self.query_children(RoundView)
        self.remove_children([view for view in views if view.round.id in gone])
        if self._first_shown >= kept:
            # All that was mounted is gone.
            self._first_shown = max(0, kept - ROUNDS_AT_ONCE)
            self.mount_all(self._views(self._first_shown, kept))

    def choose(self, step: int) -> None:
        """Choose the round ``step`` places after the chosen one; behind the last, none is."""
        views = list(self.query_children(RoundView))
        places = [index for index, view in enumerate(views) if view.round.id == self._chosen]
        place = (places[0] if places else len(views)) + step
        self.choose_round(views[max(place, 0)].round.id if place < len(views) else None)

    def choose_round(self, round_id: int | None) -> None:
        """Mark a round as the one that the next command is about; None: the last again."""
        self._chosen = round_id
        for view in self.query_children(RoundView):
            view.set_class(view.round.id == round_id, "-chosen")
        chosen = None if round_id is None else self.view_of(round_id)
        if chosen is None:
            self.anchor(bool(self._rounds))
        else:
            self.release_anchor()
            is_tall = chosen.size.height > self.size.height
            self.scroll_to_widget(chosen, animate=False, top=is_tall)

    def mark(self, pattern: re.Pattern[str] | None) -> None:
        """Mark what is found, in all rounds; None marks nothing any more."""
        self._found = pattern
        for view in self.query_children(RoundView):
            view.mark_found(pattern)

    async def show_found(self, round_id: int, index: int) -> None:
        """Bring a place that is marked to the screen, the ``index``-th of its round."""
        if self.view_of(round_id) is None and round_id in self.round_ids:
            await self._mount_from(max(0, self.round_ids.index(round_id) - 1))
        view = self.view_of(round_id)
        if view is None:
            return
        for each in self.query_children(RoundView):
            each.mark_found(self._found, index if each is view else None)
        self.release_anchor()
        self.screen._refresh_layout()
        y = view.virtual_region.y + view.marked_row - self.size.height // 3
        self.scroll_to(y=y, animate=False, immediate=True, force=True)

    def toggle_markdown(self) -> bool | None:
        """Show all replies the other way than the chosen one; whether that is Markdown.

        None: there is no reply.
        """
        view = self.chosen
        if view is None:
            return None
        self._is_markdown = not view.is_markdown
        for each in self.query_children(RoundView):
            each.show_markdown(self._is_markdown)
        return self._is_markdown

    def follow(self) -> None:
        """Go to the end, and stay there as a reply grows."""
        self.anchor(bool(self._rounds))

    def set_reactive(self, reactive: Reactive[Any], value: Any) -> None:
        """As Textual's, which puts what is shorter than the view at its bottom edge."""
        if reactive in (Widget.scroll_y, Widget.scroll_target_y):
            value = max(0, value)
        super().set_reactive(reactive, value)

    def scroll_pages(self, pages: int) -> None:
        """Scroll by pages, up where ``pages`` is negative."""
        if pages < 0:
            self.release_anchor()
            self.scroll_page_up(animate=False)
        else:
            self.scroll_page_down(animate=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        near = new_value < self.size.height and new_value < old_value
        if near and self._first_shown and not self._loading_earlier:
            self._loading_earlier = True
            self.call_next(self._load_earlier)

    def on_round_view_unread(self, event: RoundView.Unread) -> None:
        """Show more of a long reply; what is on the screen stays where it is."""
        event.stop()
        is_above = event.view.virtual_region.bottom <= self.scroll_y
        height = self.virtual_size.height
        with self.app.batch_update():
            event.view.read_on()
            if is_above and self.rows_below:
                self.screen._refresh_layout()
                y = self.scroll_y + self.virtual_size.height - height
                self.scroll_to(y=y, animate=False, immediate=True, force=True)

    async def _load_earlier(self) -> None:
        """Mount earlier rounds above; what is on the screen stays where it is."""
        await self._mount_from(max(0, self._first_shown - ROUNDS_AT_ONCE))
        self._loading_earlier = False

    async def _mount_from(self, first: int) -> None:
        stop, self._first_shown = self._first_shown, first
        height = self.virtual_size.height
        with self.app.batch_update():
            await self.mount_all(self._views(self._first_shown, stop), before=0)
            # The new heights must be known before anything is drawn, or the text would jump.
            self.screen._refresh_layout()
            grown = self.virtual_size.height - height
            self.scroll_to(y=self.scroll_y + grown, animate=False, immediate=True, force=True)

    def _forget_far_views(self) -> None:
        """A growing reply lays out all that is mounted, so that must not be hundreds of rounds."""
        views = self.query_children(RoundView)
        far = list(views)[: max(0, len(views) - ROUNDS_AT_ONCE)]
        if far:
            self._first_shown += len(far)
            self.remove_children(far)

    def _views(self, start: int, stop: int) -> list[RoundView]:
        rounds = self._rounds[start:stop]
        views = [RoundView(round_, is_markdown=self._is_markdown) for round_ in rounds]
        for view in views:
            view.mark_found(self._found)
        return views
