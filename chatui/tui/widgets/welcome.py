"""What a new conversation begins with: what the model is for, and the way back to the last one."""

from __future__ import annotations

from dataclasses import dataclass

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.events import Click
from textual.message import Message

from chatui.conversation.rounds import Conversation
from chatui.locales import say
from chatui.tui.plain_text import plain_line
from chatui.tui.widgets.prose import Prose


class Welcome(Vertical):
    """The greeting of an empty conversation."""

    class Continue(Message):
        """The user wants to go on with the last conversation."""

    @dataclass
    class Example(Message):
        """The user picked an example query."""

        query: str

    def __init__(self, last: Conversation | None = None, *, is_embedded: bool = True) -> None:
        """
        Args:
            last: the conversation to offer.
            is_embedded: whether the model is the one that ships with chatui.
        """
        super().__init__()
        self._last = last
        self._is_embedded = is_embedded

    def compose(self) -> ComposeResult:
        yield Prose(say("tui.welcome.title"), classes="title")
        yield Prose(classes="continue")
        purpose = "tui.welcome.embedded" if self._is_embedded else "tui.welcome.other"
        yield Prose(say(purpose), classes="purpose")
        if self._is_embedded:
            for number in (1, 2, 3):
                yield Prose(say(f"tui.welcome.example{number}"), classes="example")
            yield Prose(say("tui.welcome.bigger"), classes="bigger")

    def on_mount(self) -> None:
        self.offer(self._last)

    def offer(self, last: Conversation | None) -> None:
        """Offer to go on with ``last``; None takes the offer back."""
        line = self.query_one(".continue", Prose)
        line.display = last is not None
        if last is not None:
            title = plain_line(last.title, 40)
            line.set_text(say("tui.welcome.continue", title=title, rounds=last.round_count))

    @on(Click, ".continue")
    def _continue(self, event: Click) -> None:
        event.stop()
        self.post_message(self.Continue())

    @on(Click, ".example")
    def _example(self, event: Click) -> None:
        event.stop()
        if isinstance(event.widget, Prose):
            self.post_message(self.Example(event.widget.text))
