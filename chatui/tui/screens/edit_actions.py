"""What is written on the main screen: queries, and earlier queries and replies anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from msgspec import Struct
from textual import on, work
from textual.binding import Binding, BindingType

from chatui.conversation.rounds import Round
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.tui.screens.turn_display import TurnDisplay
from chatui.tui.widgets.query_box import PurposeLine, QueryBox
from chatui.tui.widgets.round_list import RoundList


class Rewriting(Struct, frozen=True):
    """A text that is in the query box to be changed.

    Attributes:
        typed: what was in the box before, and comes back.
        take: takes the changed text.
        leave: takes the text as it was, where nothing is to be changed.
    """

    typed: str
    take: Callable[[str], Awaitable[None]]
    leave: Callable[[], None] | None = None


class EditActions(TurnDisplay):
    """Sends queries, and lends the query box to other texts."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("alt+e", "edit_query", "tui.keys.edit_query"),
        Binding("alt+r", "edit_reply", "tui.keys.edit_reply"),
        Binding("alt+c", "go_on", "tui.keys.go_on"),
        Binding("alt+up", "choose_round(-1)", "tui.keys.round_before"),
        Binding("alt+down", "choose_round(1)", "tui.keys.round_after"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._rewriting: Rewriting | None = None

    @on(QueryBox.Submitted)
    async def _submit(self, event: QueryBox.Submitted) -> None:
        rewriting = self._rewriting
        if rewriting is None:
            await self.send(event.text)
            return
        self._end_rewriting()
        await rewriting.take(event.text)

    async def send(self, text: str) -> None:
        """Do what was written."""
        await self.ask(text)

    async def ask(self, text: str) -> None:
        """Send a query."""
        self.app.turns.ask(text)

    @on(RoundList.QueryClicked)
    def _on_query_clicked(self, event: RoundList.QueryClicked) -> None:
        """Choose the round, or none any more."""
        view, clicked = self._conversation, event.round.id
        is_chosen = view.has_chosen and view.chosen is view.view_of(clicked)
        view.choose_round(None if is_chosen else clicked)

    def action_choose_round(self, step: int) -> None:
        self._conversation.choose(step)

    def chosen_round(self, while_replying: str = "") -> Round | None:
        """The round that a command is about; if it cannot be had, the user is told and it is None.

        Args:
            while_replying: why it cannot be had while a reply is being written here; "" if it can.
        """
        view = self._conversation.chosen
        if view is not None and not (while_replying and self.app.turns.is_replying_here):
            return view.round
        words = say("tui.rewrite.nothing") if view is None else while_replying
        self.app.tell_user(words, "information")
        return None

    def rewrite(
        self,
        text: str,
        purpose: str,
        take: Callable[[str], Awaitable[None]],
        leave: Callable[[], None] | None = None,
        *,
        may_be_empty: bool = False,
    ) -> None:
        """Have the user change ``text`` in the query box; what is being typed there comes back.

        Args:
            purpose: one line about what the text is.
            take: takes the changed text.
            leave: called instead where the user leaves it with Esc.
            may_be_empty: whether nothing is a text too.
        """
        self.leave_rewriting()
        self._rewriting = Rewriting(self._box.query_text, take, leave)
        self.query_one(PurposeLine).set_text(purpose)
        self._box.set_query(text, held=False)
        self._box.may_be_empty = may_be_empty
        self._box.focus()

    def leave_rewriting(self) -> bool:
        """Leave a text as it was; whether one was being changed."""
        rewriting = self._rewriting
        if rewriting is None:
            return False
        self._end_rewriting()
        if rewriting.leave is not None:
            rewriting.leave()
        return True

    def _end_rewriting(self) -> None:
        assert self._rewriting is not None
        self._box.set_query(self._rewriting.typed)
        self.query_one(PurposeLine).set_text("")
        self._box.may_be_empty = False
        self._rewriting = None

    def action_edit_query(self) -> None:
        """Change the query of the chosen round; the answer to it is another branch."""
        round_ = self.chosen_round()
        if round_ is None:
            return

        async def take(query: str) -> None:
            self.app.turns.regenerate(round_, query)

        self.rewrite(round_.query, say("tui.rewrite.query"), take)

    def action_edit_reply(self) -> None:
        """Change the reply of the chosen round; the changed one is another branch."""
        round_ = self.chosen_round(say("tui.rewrite.stop_first"))
        if round_ is not None:
            self._rewrite_reply(round_, round_.reply)

    def _rewrite_reply(self, round_: Round, text: str) -> None:
        async def take(reply: str) -> None:
            self._write_reply(round_, reply)

        self.rewrite(text, say("tui.rewrite.reply"), take)

    def action_go_on(self) -> None:
        """Have the reply of the chosen round go on from where it ended, as another branch."""
        turns, round_ = self.app.turns, self.chosen_round(say("tui.rewrite.running"))
        if round_ is None:
            return
        if turns.loaded is not None and not turns.loaded.can_continue:
            self.app.tell_user(say("backends.cannot_go_on"), "information")
        else:
            turns.continue_reply(round_)

    @work
    async def _write_reply(self, round_: Round, reply: str) -> None:
        if reply == round_.reply:
            return
        turns = self.app.turns
        try:
            if turns.is_replying_here:
                raise ChatuiError(say("tui.rewrite.stop_first"))
            rounds = await turns.save_edited_reply(round_, reply)
        except ChatuiError as error:
            self.app.tell_user(str(error))
            self._rewrite_reply(round_, reply)
            return
        if rounds and round_.conversation_id == turns.current.id:
            await self._show_rounds(rounds)
