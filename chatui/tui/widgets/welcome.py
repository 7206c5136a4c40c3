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
    from chatui.tui.first_start import Found


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

    class ServerModel(Message):
        """The user wants the server's model."""

    def __init__(
        self,
        greeting: Greeting,
        last: Conversation | None = None,
        found: Found | None = None,
    ) -> None:
        """
        Args:
            last: the conversation to offer.
            found: what is here to chat with.
        """
        super().__init__()
        self._greeting = greeting
        self._last = last
        self._found = found

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
            for class_, words in self._found_words().items():
                line = Prose(words, classes=f"found {class_}")
                line.display = bool(words)
                yield line
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

    def suggest(self, found: Found | None) -> None:
        """Say what is here to chat with, if the model here does one thing alone."""
        self._found = found
        for class_, words in self._found_words().items():
            for line in self.query(f".{class_}").results(Prose):
                line.set_text(words)
                line.display = bool(words)

    def _found_words(self) -> dict[str, str]:
        """Words by the class of their line; "" for one that is not shown."""
        found = self._found
        if found is None:
            return {"machine": "", "chat-model": "", "server-model": ""}
        model, server = found.chat_model, found.server_model
        key = "chat_here" if model.usable else "chat_fetch"
        title = one_line(model.title, 40)
        chat = say(f"tui.welcome.{key}", title=title, size=size(model.disk_bytes), hub=found.hub)
        on_server = "" if server is None else one_line(server.title, 40)
        return {
            "machine": found.words,
            "chat-model": chat,
            "server-model": on_server and say("tui.welcome.server", title=on_server),
        }

    def _offer_words(self) -> str:
        if self._last is None:
            return ""
        title = one_line(self._last.title, 40)
        return say("tui.welcome.continue", title=title, rounds=self._last.round_count)

    @on(Click, ".continue")
    def _continue(self, event: Click) -> None:
        event.stop()
        self.post_message(self.Continue())

    @on(Click, ".chat-model")
    def _take_chat_model(self, event: Click) -> None:
        event.stop()
        self.post_message(self.ChatModel())

    @on(Click, ".server-model")
    def _take_server_model(self, event: Click) -> None:
        event.stop()
        self.post_message(self.ServerModel())

    @on(Click, ".example")
    def _example(self, event: Click) -> None:
        event.stop()
        if isinstance(event.widget, Prose):
            self.post_message(self.Example(event.widget.text))
