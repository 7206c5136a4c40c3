"""The last line of the screen: the model, its speed, the context, and key hints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.content import Content
from textual.reactive import reactive

from chatui.locales import say
from chatui.readable import duration, progress_bar
from chatui.tui.widgets.key_line import SEPARATOR, KeyHints, clickable

if TYPE_CHECKING:
    from chatui.tui.context_use import ContextUse

_BAR_CELLS = 10
_MEASURABLE_SECONDS = 0.5
"""Minimum load time from which the remaining time is estimated."""
_METER_FROM_CELLS = 70
"""Minimum width of the line for the context meter; below, only the numbers are shown."""
_WIDE_METER_FROM_CELLS = 90
_METER_CELLS, _WIDE_METER_CELLS = 8, 16


class StatusLine(KeyHints):
    """One line: facts on the left, and key hints on the right if they fit."""

    model: reactive[str] = reactive("")
    activity: reactive[str] = reactive("")
    """What is going on, shown in place of the speed: loading, stopped, an error."""
    thinking: reactive[str] = reactive("")
    """The thinking switch; "" if the model decides."""
    device: reactive[str] = reactive("")
    """Why a small model runs on the CPU beside an unused GPU; else ""."""
    tokens_per_second: reactive[float] = reactive(0.0)
    context_used: reactive[int] = reactive(0)
    context_limit: reactive[int] = reactive(0)
    context: reactive[ContextUse | None] = reactive(None)
    """How the rounds share the window."""
    keys: reactive[str] = reactive("")
    """The key hints; "" shows the usual ones."""

    def facts(self) -> str:
        """Return the left part, without the context."""
        speed = self.tokens_per_second
        activity = self.activity or (speed and say("tui.status.speed", speed=f"{speed:.1f}"))
        facts = (self.model, self.device, self.thinking, activity)
        return SEPARATOR.join(str(fact) for fact in facts if fact)

    def render(self) -> Content:
        width, facts = self.size.width, self.facts()
        left = Content.assemble(facts, SEPARATOR if facts else "", self._context_meter())
        if not self.context_limit:
            left = Content(facts)
        room = width - left.cell_length
        keys = self.hints(self.keys or say("tui.status.keys"), room - 2)
        if keys.cell_length > room - 2:
            return left
        return Content.assemble(left, " " * (room - keys.cell_length), keys)

    def _context_meter(self) -> Content:
        """Return the use of the context window per round; a click explains it in a notification."""
        used, limit = self.context_used, self.context_limit
        words = say("tui.status.context", used=used, limit=limit)
        parts: list[tuple[str, str]] = [(words, "")]
        width = self.size.width
        if width >= _METER_FROM_CELLS and used:
            from chatui.tui.context_use import meter

            cells = _WIDE_METER_CELLS if width >= _WIDE_METER_FROM_CELLS else _METER_CELLS
            parts = [*meter(self.context, used, limit, cells), (f" {words}", "")]
        return clickable(Content.assemble(*parts), "screen.tell_context")


def progress_text(done_bytes: int, total_bytes: int, seconds: float = 0.0) -> str:
    """Return the progress of a load, with a bar if its size is known.

    Args:
        seconds: time since it began, to estimate the remaining time; 0 gives no estimate.
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
