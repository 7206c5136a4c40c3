"""The base of the panels beside the conversation."""

from __future__ import annotations

from pathlib import Path

from textual.widget import Widget

from chatui.tui.screens import NARROW_BELOW_CELLS


class SidePanel(Widget):
    """A panel beside the conversation, or over it on a narrow screen.

    While it has the focus the status line shows its key hints; over the conversation, its own line.
    """

    # Read on import, which is when a panel is first opened.
    DEFAULT_CSS = Path(__file__).with_suffix(".tcss").read_text(encoding="utf-8")

    def on_mount(self) -> None:
        # The screen sets it from now on: a hidden widget gets no resize events.
        self.set_class(self.screen.size.width < NARROW_BELOW_CELLS, "-narrow")

    async def action_leave(self) -> None:
        """Focus the query box; the panel stays open."""
        await self.app.action_focus("query")
