"""Ctrl+F: the search bar of the open conversation."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widgets import Input, Static

from chatui.conversation.rounds import Round
from chatui.conversation.text_search import search_pattern
from chatui.locales import say
from chatui.tui.editing import LineInput
from chatui.tui.widgets.conversation_view import ConversationView


def match_positions(rounds: Sequence[Round], pattern: re.Pattern[str]) -> list[tuple[int, int]]:
    """Return each match as (id of its round, index among the matches of the round)."""
    return [
        (each.id, index)
        for each in rounds
        for index, _ in enumerate(
            match for text in (each.query, each.reply) for match in pattern.finditer(text)
        )
    ]


class FindBar(Horizontal, can_focus=True):
    """The search text and the number of the current match; n and N go through the matches."""

    # Read on import, which is when the bar is first opened.
    DEFAULT_CSS = Path(__file__).with_suffix(".tcss").read_text(encoding="utf-8")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,down", "step(1)", "organise.keys.find_next"),
        Binding("N,up", "step(-1)", "organise.keys.find_before"),
        Binding("enter", "step(1)", show=False),
        Binding("escape", "leave", "organise.keys.find_close"),
    ]

    footer_keys = "organise.footer.find"

    def __init__(
        self, conversation: ConversationView, words: str = "", round_id: int | None = None
    ) -> None:
        """
        Args:
            words: the text to find; without one, the text field gets the focus.
            round_id: the round of the first current match; None for the last match.
        """
        super().__init__()
        self._conversation = conversation
        self._words = words
        self._first_round_id = round_id
        self._pattern: re.Pattern[str] | None = None
        self._matches: list[tuple[int, int]] = []
        self._index = 0

    def compose(self) -> ComposeResult:
        yield Static(say("organise.find.label"), classes="label", markup=False)
        yield LineInput(self._words, placeholder=say("organise.find.placeholder"))
        yield Static(classes="count", markup=False)

    def on_mount(self) -> None:
        (self if self._words else self.query_one(LineInput)).focus()
        self._find(self._words)

    @on(Input.Changed)
    def _on_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._find(event.value)

    @on(Input.Submitted)
    def _on_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.focus()

    @work(exclusive=True)
    async def _find(self, words: str) -> None:
        self._pattern, self._matches = search_pattern(words), []
        if self._pattern is not None:
            rounds = [view.round for view in self._conversation.views]
            self._matches = await asyncio.to_thread(match_positions, rounds, self._pattern)
        first = [at for at, (id_, _) in enumerate(self._matches) if id_ == self._first_round_id]
        self._index = first[0] if first else len(self._matches) - 1
        self._show()

    def _show(self) -> None:
        if self._matches:
            count = f"{len(self._matches):,}"
            shown = say("organise.find.place", place=self._index + 1, count=count)
            self._conversation.highlight(self._pattern, *self._matches[self._index])
        else:
            shown = say("organise.find.nothing") if self._pattern else ""
            self._conversation.highlight(self._pattern)
        self.query_one(".count", Static).update(Content(shown))

    def action_step(self, step: int) -> None:
        """Go to the next or previous match; the first follows the last."""
        if self._matches:
            self._index = (self._index + step) % len(self._matches)
            self._show()

    async def action_leave(self) -> None:
        """Close the bar and remove the highlights."""
        self._conversation.highlight(None)
        await self.app.action_focus("query")
        self.remove()
