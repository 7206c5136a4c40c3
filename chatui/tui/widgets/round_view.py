"""One round on the screen: the query, who replied, the reply, and how it ended."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.tui.model_names import shown_name
from chatui.tui.plain_text import plain_line, plain_text
from chatui.tui.widgets.flowing_text import FlowingText


class RoundView(Vertical):
    """Shows a round; while its reply streams, only the reply's own rows change."""

    def __init__(self, round_: Round, version: int = 1, versions: int = 1) -> None:
        """
        Args:
            version: which of the ``versions`` with the same parent this is, from 1.
        """
        super().__init__()
        self.round = round_
        self._version = (version, versions)
        self._query = FlowingText(round_.query, classes="query")
        self._author = Static(classes="author", markup=False)
        self._reply = FlowingText(round_.reply, classes="reply")
        self._note = Static(classes="note", markup=False)
        self._dropped_rounds = 0

    def compose(self) -> ComposeResult:
        yield self._query
        yield self._author
        yield self._reply
        yield self._note

    def on_mount(self) -> None:
        self._show_state()

    @property
    def reply_text(self) -> str:
        """The reply as shown."""
        return self._reply.text

    def grow(self, text: str) -> None:
        """The reply goes on."""
        if not self._reply.display:
            self._reply.display = True
            self._show_note("")
        self._reply.append(text)

    def end(self, round_: Round) -> None:
        """The reply has ended."""
        if round_.reply != self.round.reply and plain_text(round_.reply) != self._reply.text:
            self._reply.set_text(round_.reply)
        self.round = round_
        self._show_state()

    def set_dropped_rounds(self, count: int) -> None:
        """Say that the oldest ``count`` rounds did not fit into what the model read."""
        self._dropped_rounds = count

    def set_version(self, version: int, versions: int) -> None:
        """Which of how many versions this is."""
        self._version = (version, versions)
        self._show_author()

    def _show_state(self) -> None:
        self._show_author()
        self._reply.display = bool(self._reply.text)
        self.set_class(self.round.state == "failed", "-failed")
        self._show_note(self._state_in_words())

    def _show_author(self) -> None:
        name = Content.styled(plain_line(shown_name(self.round.model)), "bold")
        version, versions = self._version
        if versions > 1:
            place = say("tui.round.version", version=version, versions=versions)
            name = Content.assemble(name, Content.styled(f"  {place}", "dim"))
        self._author.update(name)

    def _show_note(self, words: str) -> None:
        if self._dropped_rounds:
            dropped = say("tui.round.dropped", count=self._dropped_rounds)
            words = f"{words}\n{dropped}" if words else dropped
        self._note.update(Content(words))
        self._note.display = bool(words)

    def _state_in_words(self) -> str:
        round_ = self.round
        hidden = self._query.hidden_characters + self._reply.hidden_characters
        words = {
            "streaming": "" if self._reply.text else say("tui.round.reading"),
            "stopped": say("tui.round.stopped"),
            "failed": say("tui.round.failed", reason=plain_line(round_.error or "", 1000)),
            "interrupted": say("tui.round.interrupted"),
        }.get(round_.state, "")
        if round_.state == "done" and round_.finish_reason == "length":
            words = say("tui.round.length")
        if round_.state == "done" and not round_.reply.strip():
            words = say("tui.round.empty")
        if hidden:
            more = say("tui.round.hidden", count=f"{hidden:,}")
            words = f"{words}\n{more}" if words else more
        return words
