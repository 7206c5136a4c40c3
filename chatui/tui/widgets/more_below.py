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
        self._rows = 0
        self.display = False

    def on_mount(self) -> None:
        self.watch(self._conversation, "scroll_y", self._count_rows, init=False)
        # The conversation, or the room that it has, may be another after a layout.
        self.screen.screen_layout_refresh_signal.subscribe(self, lambda _: self._count_rows())

    def _count_rows(self) -> None:
        rows = self._conversation.rows_below
        # Without this line there is room for one row more.
        self.display = rows > int(self.display)
        # An update makes a layout, which comes here again.
        if rows and rows != self._rows:
            self._rows = rows
            self.update(Content(say("tui.more_below", count=f"{rows:,}")))

    def on_click(self, event: Click) -> None:
        event.stop()
        self._conversation.follow()
