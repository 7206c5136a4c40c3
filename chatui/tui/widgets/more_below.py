"""That the conversation goes on below what is seen."""

from __future__ import annotations

from textual.content import Content
from textual.events import Click
from textual.widgets import Static

from chatui.locales import say
from chatui.tui.widgets.conversation_view import ConversationView


class MoreBelow(Static):
    """One line below the conversation, while its end is not on the screen; a click goes there."""

    def __init__(self, conversation: ConversationView) -> None:
        super().__init__()
        self._conversation = conversation
        self.display = False

    def on_mount(self) -> None:
        for name in ("scroll_y", "virtual_size"):
            self.watch(self._conversation, name, self._look, init=False)

    def _look(self) -> None:
        rows = self._conversation.rows_below
        self.display = rows > 0
        if rows:
            self.update(Content(say("tui.more_below", count=f"{rows:,}")))

    def on_click(self, event: Click) -> None:
        event.stop()
        self._conversation.follow()
