"""The queries that wait for their turn, above the query box."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from chatui.locales import say
from chatui.text import one_line

_SHOWN = 3


class WaitingList(Static):
    """Shows the first few waiting queries; takes no room where there are none."""

    def on_mount(self) -> None:
        self.display = False

    async def on_click(self) -> None:
        """As the key that takes the last one back into the query box."""
        await self.run_action("screen.edit_waiting")

    def show(self, queries: Sequence[str]) -> None:
        """Show these queries, the next one first."""
        lines = [say("tui.waiting.query", query=one_line(query, 60)) for query in queries[:_SHOWN]]
        if len(queries) > _SHOWN:
            lines.append(say("tui.waiting.more", count=len(queries) - _SHOWN))
        self.update(Content("\n".join(lines)))
        self.display = bool(queries)
