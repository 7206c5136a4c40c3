"""The last line: which model, how fast, how full the context is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.events import Click
from textual.reactive import reactive
from textual.style import Style
from textual.widget import Widget

from chatui.locales import say
from chatui.readable import duration, progress_bar
from chatui.tui.widgets.key_line import SEPARATOR, PagedKeys

if TYPE_CHECKING:
    from chatui.tui.context_use import ContextUse

_BAR_CELLS = 10
_MEASURABLE_SECONDS = 0.5
"""A load that has taken less says nothing about how long the rest takes."""
_CONTEXT = "context"
_METER_CELLS = (8, 16)
"""On a line of less than 90 cells, and on others."""

METER_FROM_CELLS = 70
"""A line less wide shows the context's numbers alone."""


class StatusLine(Widget):
    """One line of facts at the left, and the keys worth knowing at the right where they fit."""

    model: reactive[str] = reactive("")
    activity: reactive[str] = reactive("")
    """What is going on, in place of the speed: loading, stopped, an error."""
    thinking: reactive[str] = reactive("")
    """That thinking is switched on or off; "" if it is not."""
    device: reactive[str] = reactive("")
    """Why the model is where it is; "" if nobody would wonder."""
    tokens_per_second: reactive[float] = reactive(0.0)
    context_used: reactive[int] = reactive(0)
    context_limit: reactive[int] = reactive(0)
    context: reactive[ContextUse | None] = reactive(None)
    """How the rounds share the window."""
    keys: reactive[str] = reactive("")
    """Those worth knowing now."""

    def __init__(self) -> None:
        super().__init__()
        self._pages = PagedKeys()

    def facts(self) -> str:
        """The left part, up to the context."""
        facts = [self.model] if self.model else []
        facts += filter(None, (self.device, self.thinking))
        if self.activity:
            facts.append(self.activity)
        elif self.tokens_per_second:
            facts.append(say("tui.status.speed", speed=f"{self.tokens_per_second:.1f}"))
        return SEPARATOR.join(facts)

    def render(self) -> Content:
        width, facts = self.size.width, self.facts()
        left = Content.assemble(facts, SEPARATOR if facts else "", self._context_meter())
        if not self.context_limit:
            left = Content(facts)
        room = width - left.cell_length
        keys = self._pages.page(self.keys or say("tui.status.keys"), room - 2)
        if keys.cell_length > room - 2:
            return left
        return Content.assemble(left, " " * (room - keys.cell_length), keys)

    def _context_meter(self) -> Content:
        """How full the window is, round by round; a click says it in words."""
        used, limit = self.context_used, self.context_limit
        words = say("tui.status.context", used=used, limit=limit)
        parts: list[tuple[str, str]] = [(words, "")]
        if self.size.width >= METER_FROM_CELLS and used:
            from chatui.tui.context_use import meter

            parts = [
                *meter(self.context, used, limit, _METER_CELLS[self.size.width >= 90]),
                (f" {words}", ""),
            ]
        return Content.assemble(*parts).stylize(Style.from_meta({_CONTEXT: True}))

    async def on_click(self, event: Click) -> None:
        if event.style.meta.get(_CONTEXT):
            await self.run_action("screen.tell_context")
        else:
            self._pages.click(event)


def progress_words(stage: str, done_bytes: int, total_bytes: int, seconds: float = 0.0) -> str:
    """How far a load has come, with a bar where the size is known.

    Args:
        seconds: since it began; with some, the rest is estimated too.
    """
    if not total_bytes:
        return say("tui.status.loading")
    words = say(
        "tui.status.loading_bytes",
        bar=progress_bar(done_bytes / total_bytes, _BAR_CELLS),
        done=f"{done_bytes / 1e6:.0f}",
        total=f"{total_bytes / 1e6:.0f}",
    )
    if seconds < _MEASURABLE_SECONDS or not 0 < done_bytes < total_bytes:
        return words
    left = seconds / done_bytes * (total_bytes - done_bytes)
    return say("organise.load.left", progress=words, left=duration(left))
