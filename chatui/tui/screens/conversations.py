"""Ctrl+B: the picker of a conversation."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from chatui.conversation.rounds import Conversation
from chatui.tui.screens.picker import Picker
from chatui.tui.widgets.conversation_list import ChosenConversation, ConversationList


class ConversationPicker(ConversationList, Picker[ChosenConversation | None, Conversation]):
    """Lists conversations; returns the chosen one.

    Attributes:
        deleted: ids of the conversations deleted here.
        renamed: True if a conversation was renamed.
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
