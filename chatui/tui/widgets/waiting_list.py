"""The list of waiting queries above the query box."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.widgets import Static

from chatui.locales import say
from chatui.text import one_line
from chatui.tui.widgets.key_line import clickable

_SHOWN = 3


class WaitingList(Static):
    """Shows the first few waiting queries; hidden if there are none.

    A click on a query moves it back to the query box, a click on its cross withdraws it.
    """

    auto_links = False

    def on_mount(self) -> None:
        self.display = False

    def show(self, queries: Sequence[str]) -> None:
        """Show these queries, the next to be answered first."""
        lines = [_line(index, query) for index, query in enumerate(queries[:_SHOWN])]
        if len(queries) > _SHOWN:
            more = say("tui.waiting.more", count=len(queries) - _SHOWN)
            lines.append(clickable("  " + more, "screen.edit_waiting"))
        self.update(Content("\n").join(lines))
        self.display = bool(queries)


def _line(index: int, query: str) -> Content:
    words = say("tui.waiting.query", query=one_line(query, 60))
    return Content.assemble(
        clickable("✕ ", f"screen.withdraw_waiting({index})"),
        clickable(words, f"screen.edit_waiting({index})"),
    )
