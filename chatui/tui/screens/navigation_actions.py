"""Actions that find and open conversations: the list, the side bar, the find bar, titles."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.widgets import Input

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.tui.screens.model_actions import ModelActions

if TYPE_CHECKING:
    from chatui.tui.screens.picker import ConversationPicker
    from chatui.tui.widgets.conversation_list import ChosenConversation, ConversationList
    from chatui.tui.widgets.side_bar import SideBar


class NavigationActions(ModelActions):
    """Opens the list of conversations, the side bar and the find bar, and renames."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+o", "continue", "tui.keys.continue"),
        Binding("ctrl+b", "conversations", "tui.keys.conversations"),
        Binding("alt+l", "side_bar", "organise.keys.side_bar"),
        Binding("ctrl+f", "find", "organise.keys.find", priority=True),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._picker: ConversationPicker | None = None

    def _after_first_paint(self) -> None:
        super()._after_first_paint()
        if self.app.settings.side_bar:
            self._open_side_bar()

    @work
    async def _open_side_bar(self) -> None:
        await self.action_side_bar()
        self._box.focus()

    async def action_continue(self) -> None:
        """Open the conversation used last."""
        if self.app.turns.conversation is None and self._last is not None:
            await self.open_conversation(self._last.id)

    async def action_conversations(self, words: str = "") -> None:
        """List the conversations, or those that contain ``words``."""
        from chatui.tui.screens.picker import ConversationPicker

        turns = self.app.turns
        picker = self._picker = ConversationPicker(self.app.store, turns.drop_conversation)

        async def take(chosen: ChosenConversation | None) -> None:
            self._picker = None
            if turns.current.id in picker.deleted:
                await self.show_new()
            if chosen is not None:
                await self._open_chosen(chosen)
            elif picker.renamed:
                await self.reload_title()

        await self.show_picker(picker, take)
        if words:
            picker.query_one(Input).value = words

    async def action_side_bar(self) -> None:
        """Open the side bar and focus it, or close it."""
        from chatui.tui.widgets.side_bar import SideBar

        turns = self.app.turns
        await self.toggle_panel(SideBar(self.app.store, turns.drop_conversation, turns.current.id))

    def refresh_lists(self) -> None:
        from chatui.tui.widgets.side_bar import SideBar

        if self._picker is not None and self._picker.is_current:
            self._picker.search(self._picker.words)
        for bar in self.query(SideBar):
            bar.show_open(self.app.turns.current.id)

    async def on_side_bar_chosen(self, event: SideBar.Chosen) -> None:
        self._box.focus()
        await self.query("SideBar.-narrow").remove()
        await self._open_chosen(event.place)

    async def on_conversation_list_deleted(self, event: ConversationList.Deleted) -> None:
        if self.app.turns.current.id == event.conversation_id:
            await self.show_new()

    async def on_conversation_list_renamed(self) -> None:
        await self.reload_title()

    async def _open_chosen(self, chosen: ChosenConversation) -> None:
        """Open a conversation, and find in it what the list was searched for."""
        await self.open_conversation(chosen.conversation_id, chosen.round_id)
        if chosen.words:
            await self.action_find(chosen.words, chosen.round_id)

    async def action_find(self, words: str = "", round_id: int | None = None) -> None:
        """Open the find bar, or focus it.

        Args:
            words: the text to find; "" lets the user type it.
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
        """Give the conversation this title, or let the model write one."""
        id_ = self.app.turns.current.id
        try:
            if not title:
                title = await self.app.turns.write_title()
            if id_ is None:
                raise ChatuiError(say("tui.rewrite.nothing"))
        except ChatuiError as error:
            self.app.tell_user(str(error), "information")
            return
        with self.reporting_errors():
            await self.app.store.queued(self.app.store.rename, id_, title)
        await self.reload_title()
        self.refresh_lists()
