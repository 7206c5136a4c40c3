"""A panel beside the conversation; where there is no room beside it, over it."""

from __future__ import annotations

from pathlib import Path

from textual.widget import Widget

from chatui.tui.screens import NARROW_BELOW_CELLS


class SidePanel(Widget):
    """Its keys stand in the last line of the screen, and in its own where it covers that."""

    # Read when the first panel opens, and not at the start.
    DEFAULT_CSS = Path(__file__).with_suffix(".tcss").read_text(encoding="utf-8")

    def on_mount(self) -> None:
        # From then on the screen does it: what is not shown is told of no new size.
        self.set_class(self.screen.size.width < NARROW_BELOW_CELLS, "-narrow")

    async def action_leave(self) -> None:
        """Give the keys back; the panel stays open."""
        await self.app.action_focus("query")
