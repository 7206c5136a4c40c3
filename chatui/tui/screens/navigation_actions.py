"""Moving around: the side bar with all conversations, and what is found in the open one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.binding import Binding, BindingType

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.tui.screens.view_actions import ViewActions

if TYPE_CHECKING:
    from chatui.tui.widgets.conversation_list import ChosenConversation, ConversationList
    from chatui.tui.widgets.side_bar import SideBar


class NavigationActions(ViewActions):
    """Opens the side bar and the bar that finds."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("alt+l", "side_bar", "organise.keys.side_bar"),
        Binding("ctrl+f", "find", "organise.keys.find", priority=True),
    ]

    def _after_first_paint(self) -> None:
        super()._after_first_paint()
        if self.app.settings.side_bar:
            self._open_side_bar()

    @work
    async def _open_side_bar(self) -> None:
        await self.action_side_bar()
        self._box.focus()

    async def action_side_bar(self) -> None:
        """Open the side bar and give it the keys, or close it."""
        from chatui.tui.widgets.side_bar import SideBar

        turns = self.app.turns
        await self.toggle_panel(SideBar(self.app.store, turns.drop_conversation, turns.current.id))

    def list_beside(self, open_id: int | None) -> None:
        from chatui.tui.widgets.side_bar import SideBar

        for bar in self.query(SideBar):
            bar.show_open(open_id)

    async def on_side_bar_chosen(self, event: SideBar.Chosen) -> None:
        self._box.focus()
        await self.query("SideBar.-narrow").remove()
        await self.open_place(event.place)

    async def on_conversation_list_deleted(self, event: ConversationList.Deleted) -> None:
        if self.app.turns.current.id == event.conversation_id:
            await self.show_new()

    async def on_conversation_list_renamed(self) -> None:
        await self.show_title_again()

    async def open_place(self, place: ChosenConversation) -> None:
        """Open a conversation where something was found in it."""
        await self.open_conversation(place.conversation_id, place.round_id)
        if place.words:
            await self.action_find(place.words, place.round_id)

    async def action_find(self, words: str = "", round_id: int | None = None) -> None:
        """Open the bar that finds, or give it the keys.

        Args:
            words: what to look for at once; "" has it typed.
            round_id: the round to begin with.
        """
        from chatui.tui.widgets.find_bar import FindBar

        opened = self.query(FindBar)
        if not opened:
            await self.mount(FindBar(self._conversation, words, round_id), before=self._box)
        elif words:
            opened.first().find(words, round_id)
        else:
            opened.first().query_one("Input").focus()

    @work
    async def action_write_title(self, title: str = "") -> None:
        """Give the conversation this title, or have the model write one."""
        id_ = self.app.turns.current.id
        try:
            if not title:
                title = await self.app.turns.write_title()
            if id_ is None:
                raise ChatuiError(say("tui.rewrite.nothing"))
        except ChatuiError as error:
            self._tell_user(str(error), "information")
            return
        with self.reporting_errors():
            await self.app.store.queued(self.app.store.rename, id_, title)
        await self.show_title_again()
        self.refresh_lists()
