"""The welcome page of an empty conversation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.events import Click
from textual.reactive import reactive

from chatui import locations
from chatui.conversation.rounds import Conversation
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.readable import size
from chatui.text import one_line
from chatui.tui.model_names import description_of, display_name
from chatui.tui.widgets.prose import Prose

if TYPE_CHECKING:
    from chatui.tui.first_start import Findings


class ActionLine(Prose):
    """A line that runs an action when it is clicked."""

    def __init__(self, words: str, action: str, classes: str) -> None:
        super().__init__(words, classes=classes)
        self._action = action

    def on_click(self, event: Click) -> None:
        event.stop()
        # The action may remove this line, and would wait for this handler to end.
        self.screen.call_later(self.screen.run_action, self._action)


class Welcome(Vertical):
    """Shows what a model is for, the last conversation, and suggested models.

    Attributes:
        spec: the model.
        last: the conversation that Ctrl+O continues; None without one.
        findings: suggested models, shown on the page of the embedded model only.
    """

    spec: reactive[ModelSpec | None] = reactive(None, recompose=True)
    last: reactive[Conversation | None] = reactive(None, recompose=True)
    findings: reactive[Findings | None] = reactive(None, recompose=True)

    def __init__(
        self, spec: ModelSpec, last: Conversation | None, findings: Findings | None
    ) -> None:
        super().__init__()
        self.set_reactive(Welcome.spec, spec)
        self.set_reactive(Welcome.last, last)
        self.set_reactive(Welcome.findings, findings)

    @property
    def is_poet(self) -> bool:
        """True for the embedded model, which only writes poems."""
        spec = self.spec
        if spec is None or spec.format != "shiyou":
            return False
        return Path(spec.path).is_relative_to(locations.assets_folder())

    def compose(self) -> ComposeResult:
        name = self.spec.name if self.spec else ""
        title = say("tui.welcome.title") if self.is_poet else one_line(display_name(name))
        yield Prose(title, classes="title")
        if self.last is not None:
            last, rounds = one_line(self.last.title, 40), self.last.round_count
            words = say("tui.welcome.continue", title=last, rounds=rounds)
            yield ActionLine(words, "continue", "continue")
        if not self.is_poet:
            about = (description_of(name), say("tui.welcome.other"))
            yield Prose("\n".join(filter(None, about)), classes="purpose")
            return
        yield Prose(say("tui.welcome.embedded"), classes="purpose")
        for number in (1, 2, 3):
            example = say(f"tui.welcome.example{number}")
            yield ActionLine(example, f"take_example({example!r})", "example")
        if self.findings is not None:
            yield from _suggestions(self.findings)
        yield Prose(say("tui.welcome.bigger"), classes="bigger")


def _suggestions(findings: Findings) -> ComposeResult:
    """Yield the lines on the machine, a chat model and a server's model."""
    yield Prose(findings.summary, classes="machine")
    model, server = findings.chat_model, findings.server_model
    key = "chat_here" if model.usable else "chat_fetch"
    title, bytes_ = one_line(model.title, 40), size(model.disk_bytes)
    words = say(f"tui.welcome.{key}", title=title, size=bytes_, hub=findings.hub)
    yield ActionLine(words, "chat_model", "chat-model")
    if server is not None:
        words = say("tui.welcome.server", title=one_line(server.title, 40))
        yield ActionLine(words, "server_model", "server-model")
