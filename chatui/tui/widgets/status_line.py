"""The last line: which model, how fast, how full the context is."""

from __future__ import annotations

from rich.cells import cell_len
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

from chatui.locales import say
from chatui.readable import bar

_BAR_CELLS = 10


class StatusLine(Widget):
    """One line of facts at the left, and the keys worth knowing at the right where they fit."""

    model: reactive[str] = reactive("")
    activity: reactive[str] = reactive("")
    """What is going on, in place of the speed: loading, stopped, an error."""
    thinking: reactive[str] = reactive("")
    """That thinking is switched on or off; "" where it is not."""
    device: reactive[str] = reactive("")
    """Why the model is where it is; "" where nobody would wonder."""
    tokens_per_second: reactive[float] = reactive(0.0)
    context_used: reactive[int] = reactive(0)
    context_limit: reactive[int] = reactive(0)

    def facts(self) -> str:
        """The left part."""
        facts = [self.model] if self.model else []
        facts += filter(None, (self.device, self.thinking))
        if self.activity:
            facts.append(self.activity)
        elif self.tokens_per_second:
            facts.append(say("tui.status.speed", speed=f"{self.tokens_per_second:.1f}"))
        if self.context_limit:
            facts.append(
                say("tui.status.context", used=self.context_used, limit=self.context_limit)
            )
        return " · ".join(facts)

    def render(self) -> Content:
        facts, keys = self.facts(), say("tui.status.keys")
        while keys and self.size.width - cell_len(facts) - cell_len(keys) < 2:
            # The first ones are worth most.
            keys = keys.rpartition("  ")[0]
        space = max(0, self.size.width - cell_len(facts) - cell_len(keys))
        return Content.assemble(facts, " " * space, Content.styled(keys, "$foreground-muted"))


def progress_words(stage: str, done_bytes: int, total_bytes: int) -> str:
    """How far a load has come, with a bar where the size is known."""
    if not total_bytes:
        return say("tui.status.loading")
    return say(
        "tui.status.loading_bytes",
        bar=bar(done_bytes / total_bytes, _BAR_CELLS),
        done=f"{done_bytes / 1e6:.0f}",
        total=f"{total_bytes / 1e6:.0f}",
    )
