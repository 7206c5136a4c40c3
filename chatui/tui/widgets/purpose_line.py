"""What the text in the query box is for, if it is not the next query."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static


class PurposeLine(Static):
    """One line above the query box; takes no room if there is nothing to say."""

    def on_mount(self) -> None:
        self.set_text("")

    def set_text(self, words: str) -> None:
        """Show ``words``; "" hides the line."""
        self.update(Content(words))
        self.display = bool(words)
