"""What a new conversation begins with: what the model is for, and the way back to the last one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.events import Click
from textual.message import Message

from chatui import locations
from chatui.conversation.rounds import Conversation
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.readable import size
from chatui.text import one_line
from chatui.tui.model_names import description_of, shown_name
from chatui.tui.widgets.prose import Prose

if TYPE_CHECKING:
    from chatui.catalog import Entry


@dataclass(frozen=True)
class Greeting:
    """What an empty conversation says of the model.

    Attributes:
        purpose: what it is for.
        examples: queries to begin with.
        more: where others are.
    """

    title: str
    purpose: str
    examples: tuple[str, ...] = ()
    more: str = ""


def greeting_of(spec: ModelSpec) -> Greeting:
    """The embedded poet has a word of its own; of others what the catalog knows."""
    is_poet = Path(spec.path).is_relative_to(locations.assets_folder()) and spec.format == "shiyou"
    if is_poet:
        return Greeting(
            say("tui.welcome.title"),
            say("tui.welcome.embedded"),
            tuple(say(f"tui.welcome.example{number}") for number in (1, 2, 3)),
            say("tui.welcome.bigger"),
        )
    about = (description_of(spec.name), say("tui.welcome.other"))
    return Greeting(one_line(shown_name(spec.name)), "\n".join(filter(None, about)))


class Welcome(Vertical):
    """The greeting of an empty conversation."""

    class Continue(Message):
        """The user wants to go on with the last conversation."""

    @dataclass
    class Example(Message):
        """The user picked an example query."""

        query: str

    class ChatModel(Message):
        """The user wants the model that was suggested."""

    def __init__(
        self,
        greeting: Greeting,
        last: Conversation | None = None,
        suggested: Entry | None = None,
    ) -> None:
        """
        Args:
            last: the conversation to offer.
            suggested: the model to chat with to offer.
        """
        super().__init__()
        self._greeting = greeting
        self._last = last
        self._suggested = suggested

    def compose(self) -> ComposeResult:
        greeting = self._greeting
        yield Prose(greeting.title, classes="title")
        line = Prose(self._offer_words(), classes="continue")
        line.display = self._last is not None
        yield line
        yield Prose(greeting.purpose, classes="purpose")
        for example in greeting.examples:
            yield Prose(example, classes="example")
        if greeting.more:
            suggestion = Prose(self._suggestion_words(), classes="suggestion")
            suggestion.display = self._suggested is not None
            yield suggestion
            yield Prose(greeting.more, classes="bigger")

    @property
    def is_poet(self) -> bool:
        """Whether the model here does one thing alone."""
        return bool(self._greeting.more)

    def greet(self, greeting: Greeting) -> None:
        """Another model answers."""
        if greeting != self._greeting:
            self._greeting = greeting
            self.refresh(recompose=True)

    def offer(self, last: Conversation | None) -> None:
        """Offer to go on with ``last``; None takes the offer back."""
        self._last = last
        line = self.query_one(".continue", Prose)
        line.display = last is not None
        line.set_text(self._offer_words())

    def suggest(self, entry: Entry) -> None:
        """Offer a model to chat with about anything, if the model here does one thing alone."""
        self._suggested = entry
        for line in self.query(".suggestion").results(Prose):
            line.set_text(self._suggestion_words())
            line.display = True

    def _suggestion_words(self) -> str:
        if self._suggested is None:
            return ""
        key = "chat_here" if self._suggested.usable else "chat_fetch"
        title, amount = one_line(self._suggested.title, 40), size(self._suggested.disk_bytes)
        return say(f"tui.welcome.{key}", title=title, size=amount)

    def _offer_words(self) -> str:
        if self._last is None:
            return ""
        title = one_line(self._last.title, 40)
        return say("tui.welcome.continue", title=title, rounds=self._last.round_count)

    @on(Click, ".continue")
    def _continue(self, event: Click) -> None:
        event.stop()
        self.post_message(self.Continue())

    @on(Click, ".suggestion")
    def _take_suggestion(self, event: Click) -> None:
        event.stop()
        self.post_message(self.ChatModel())

    @on(Click, ".example")
    def _example(self, event: Click) -> None:
        event.stop()
        if isinstance(event.widget, Prose):
            self.post_message(self.Example(event.widget.text))
