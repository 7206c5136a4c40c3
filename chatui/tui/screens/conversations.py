"""Ctrl+B: the list of conversations over the one that is open, until one is chosen."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from chatui.conversation.rounds import Conversation
from chatui.tui.screens.picker import Picker
from chatui.tui.widgets.conversation_list import ChosenConversation, ConversationList


class ConversationPicker(ConversationList, Picker[ChosenConversation | None, Conversation]):
    """Gives the place that was chosen.

    Attributes:
        deleted: ids of the conversations that were deleted here.
        renamed: whether any has a new title.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+b", "cancel", "tui.keys.close"),
    ]
    deleted: frozenset[int] = frozenset()
    renamed = False

    def on_conversation_list_deleted(self, event: ConversationList.Deleted) -> None:
        self.deleted |= {event.conversation_id}

    def on_conversation_list_renamed(self) -> None:
        self.renamed = True

    def choose(self, item: Conversation) -> None:
        self.dismiss(self.choice(item))
