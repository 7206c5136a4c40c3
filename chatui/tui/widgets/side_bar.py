"""Alt+L: the side bar with the list of conversations."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input

from chatui.conversation.rounds import Conversation
from chatui.errors import ChatuiError
from chatui.tui.widgets.conversation_list import ChosenConversation, ConversationList
from chatui.tui.widgets.side_panel import SidePanel

_POLL_SECONDS = 3


class SideBar(SidePanel, ConversationList, Vertical):
    """Lists the conversations, and stays open when one is chosen."""

    DEFAULT_CSS = Path(__file__).with_suffix(".tcss").read_text(encoding="utf-8")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "organise.keys.leave_bar"),
    ]

    footer_keys = "organise.list.keys"

    @dataclass
    class Chosen(Message):
        """The user chose a conversation."""

        place: ChosenConversation

    def on_mount(self) -> None:
        self._fingerprint: object = None
        self.query_one(Input).focus()
        self.set_interval(_POLL_SECONDS, self._poll_store)

    @work
    async def _poll_store(self) -> None:
        """Refresh the list if another process has changed the store."""
        with suppress(ChatuiError):
            fingerprint = await asyncio.to_thread(self._store.list_fingerprint)
            if self._fingerprint not in (None, fingerprint):
                self.search(self.words)
            self._fingerprint = fingerprint

    def choose(self, item: Conversation) -> None:
        self.post_message(self.Chosen(self.choice(item)))

    def show_open(self, conversation_id: int | None) -> None:
        """Refresh the list and mark this conversation as the open one."""
        self.open_id = conversation_id
        self.search(self.words)
