"""The welcome page of an empty conversation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.events import Click

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


_FOUND_LINES = (
    ("machine", ""),
    ("chat-model", "chat_model"),
    ("server-model", "server_model"),
)
"""CSS class and action of each line of the findings."""


class Greeting(Struct, frozen=True):
    """The texts about a model on the welcome page.

    Attributes:
        purpose: what the model is for.
        examples: queries to start with.
        more: how to get other models; "" except for the embedded model.
    """

    title: str
    purpose: str
    examples: tuple[str, ...] = ()
    more: str = ""


def greeting_for(spec: ModelSpec) -> Greeting:
    """Return the greeting of a model: the embedded poet's own, or the catalog's description."""
    is_poet = Path(spec.path).is_relative_to(locations.assets_folder()) and spec.format == "shiyou"
    if is_poet:
        return Greeting(
            say("tui.welcome.title"),
            say("tui.welcome.embedded"),
            tuple(say(f"tui.welcome.example{number}") for number in (1, 2, 3)),
            say("tui.welcome.bigger"),
        )
    about = (description_of(spec.name), say("tui.welcome.other"))
    return Greeting(one_line(display_name(spec.name)), "\n".join(filter(None, about)))


class ActionLine(Prose):
    """A line that runs an action when it is clicked; hidden if it is empty."""

    def __init__(self, words: str, action: str, classes: str) -> None:
        super().__init__(words, classes=classes)
        self._action = action
        self.display = bool(words)

    def set_text(self, text: str) -> None:
        super().set_text(text)
        self.display = bool(text)

    def on_click(self, event: Click) -> None:
        event.stop()
        if self._action:
            # The action may remove this line, and would wait for this handler to end.
            self.screen.call_later(self.screen.run_action, self._action)


class Welcome(Vertical):
    """Shows the greeting, the last conversation, and suggested models."""

    def __init__(
        self,
        greeting: Greeting,
        last: Conversation | None = None,
        findings: Findings | None = None,
    ) -> None:
        """
        Args:
            last: the conversation that Ctrl+O continues.
            findings: suggested models.
        """
        super().__init__()
        self._greeting = greeting
        self._last = last
        self._findings = findings

    def compose(self) -> ComposeResult:
        greeting = self._greeting
        yield Prose(greeting.title, classes="title")
        yield ActionLine(self._last_words(), "continue", "continue")
        yield Prose(greeting.purpose, classes="purpose")
        for example in greeting.examples:
            yield ActionLine(example, f"take_example({example!r})", "example")
        if greeting.more:
            for (class_, action), words in zip(_FOUND_LINES, self._findings_words(), strict=True):
                yield ActionLine(words, action, f"found {class_}")
            yield Prose(greeting.more, classes="bigger")

    @property
    def is_poet(self) -> bool:
        """True for the embedded model, which only writes poems."""
        return bool(self._greeting.more)

    def set_greeting(self, greeting: Greeting) -> None:
        """Show the greeting of another model."""
        if greeting != self._greeting:
            self._greeting = greeting
            self.refresh(recompose=True)

    def set_last(self, last: Conversation | None) -> None:
        """Offer to continue ``last``; None hides the offer."""
        self._last = last
        self.query_one(".continue", ActionLine).set_text(self._last_words())

    def set_findings(self, findings: Findings | None) -> None:
        """Show suggested models, on the page of the embedded model only."""
        self._findings = findings
        # The page of another model has no lines for them.
        lines = self.query(".found").results(ActionLine)
        for line, words in zip(lines, self._findings_words(), strict=False):
            line.set_text(words)

    def _findings_words(self) -> tuple[str, str, str]:
        """Return the lines on the machine, a chat model and a server's model; "" hides a line."""
        findings = self._findings
        if findings is None:
            return "", "", ""
        model, server = findings.chat_model, findings.server_model
        key = "chat_here" if model.usable else "chat_fetch"
        title = one_line(model.title, 40)
        chat = say(f"tui.welcome.{key}", title=title, size=size(model.disk_bytes), hub=findings.hub)
        on_server = "" if server is None else one_line(server.title, 40)
        return findings.summary, chat, on_server and say("tui.welcome.server", title=on_server)

    def _last_words(self) -> str:
        if self._last is None:
            return ""
        title = one_line(self._last.title, 40)
        return say("tui.welcome.continue", title=title, rounds=self._last.round_count)
