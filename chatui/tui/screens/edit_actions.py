"""Actions that edit, continue and rate replies, and the editing of any text in the query box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar

from msgspec import Struct
from textual import on, work
from textual._callback import invoke
from textual.binding import Binding, BindingType

from chatui.conversation.rounds import Rating, Round
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.tui.screens.turn_display import TurnDisplay
from chatui.tui.widgets.query_box import PurposeLine
from chatui.tui.widgets.round_list import RoundList

_RATINGS: dict[str, Rating] = {
    **dict.fromkeys(("+", "+1", "good", "好"), 1),
    **dict.fromkeys(("-", "-1", "−", "bad", "差"), -1),
    **dict.fromkeys(("0", "none", "无"), 0),
}
"""Arguments of ``/rate``."""


class BoxEdit(Struct, frozen=True):
    """A text that is being edited in the query box.

    Attributes:
        draft: the text that was in the box before, and returns afterwards.
        on_done: called with the edited text.
        on_cancel: called after Esc.
    """

    draft: str
    on_done: Callable[[str], object]
    on_cancel: Callable[[], None]


class EditActions(TurnDisplay):
    """Edits queries and replies in the query box, continues replies, and rates them."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("alt+e", "edit_query", "tui.keys.edit_query"),
        Binding("alt+r", "edit_reply", "tui.keys.edit_reply"),
        Binding("alt+c", "continue_reply", "tui.keys.continue_reply"),
        Binding("alt+up", "choose_round(-1)", "tui.keys.round_before"),
        Binding("alt+down", "choose_round(1)", "tui.keys.round_after"),
        # Alt with a sign needs the kitty protocol; U and J, one above the other, work everywhere.
        Binding("alt+u,alt+plus", "rate(1)", "tui.keys.rate_good"),
        Binding("alt+j,alt+minus", "rate(-1)", "tui.keys.rate_bad"),
        Binding("alt+n", "note", "tui.keys.note"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._edit: BoxEdit | None = None

    @on(RoundList.QueryClicked)
    def _on_query_clicked(self, event: RoundList.QueryClicked) -> None:
        """Choose the round, or clear the choice if it is chosen."""
        view, clicked = self._conversation, event.round.id
        is_chosen = view.has_chosen and view.chosen is view.view_of(clicked)
        view.choose_round(None if is_chosen else clicked)

    def action_choose_round(self, step: int) -> None:
        self._conversation.choose(step)

    def chosen_round(self, while_replying: str = "") -> Round | None:
        """Return the chosen round, else the last; None, after telling the user, if there is none.

        Args:
            while_replying: key of the sentence that refuses while a reply is running; "" never
                refuses.
        """
        view = self._conversation.chosen
        if view is not None and not (while_replying and self.app.turns.is_replying_here):
            return view.round
        self.app.hint("tui.rewrite.nothing" if view is None else while_replying)
        return None

    def edit_in_box(
        self,
        text: str,
        purpose: str,
        on_done: Callable[[str], object],
        on_cancel: Callable[[], None] = lambda: None,
        *,
        may_be_empty: bool = False,
    ) -> None:
        """Let the user edit ``text`` in the query box; the draft in the box returns afterwards.

        Args:
            purpose: a line about the text, shown above the box.
            on_done: called with the edited text.
            on_cancel: called after Esc.
            may_be_empty: whether an empty text can be submitted.
        """
        self.cancel_edit()
        self._edit = BoxEdit(self._box.query_text, on_done, on_cancel)
        self.query_one(PurposeLine).set_text(purpose)
        self._box.set_query(text, held=False)
        self._box.may_be_empty = may_be_empty
        self._box.focus()

    async def finish_edit(self, text: str) -> bool:
        """Submit the edited text; return whether a text was being edited."""
        edit = self._end_edit()
        if edit is not None:
            await invoke(edit.on_done, text)
        return edit is not None

    def cancel_edit(self) -> bool:
        """Leave the edited text unchanged; return whether a text was being edited."""
        edit = self._end_edit()
        if edit is not None:
            edit.on_cancel()
        return edit is not None

    def _end_edit(self) -> BoxEdit | None:
        edit, self._edit = self._edit, None
        if edit is not None:
            self._box.set_query(edit.draft)
            self.query_one(PurposeLine).set_text("")
            self._box.may_be_empty = False
        return edit

    def action_edit_query(self) -> None:
        """Edit the query of the chosen round, and answer it as a new branch."""
        round_ = self.chosen_round()
        if round_ is not None:
            answer = partial(self.app.turns.regenerate, round_)
            self.edit_in_box(round_.query, say("tui.rewrite.query"), answer)

    def action_edit_reply(self) -> None:
        """Edit the reply of the chosen round, as a new branch."""
        round_ = self.chosen_round("tui.rewrite.stop_first")
        if round_ is not None:
            self._edit_reply_text(round_, round_.reply)

    def _edit_reply_text(self, round_: Round, text: str) -> None:
        self.edit_in_box(text, say("tui.rewrite.reply"), partial(self._save_reply, round_))

    def action_continue_reply(self) -> None:
        """Continue the reply of the chosen round from its end, as a new branch."""
        turns, round_ = self.app.turns, self.chosen_round("tui.rewrite.running")
        if round_ is None:
            return
        if round_.finish_reason in ("eos", "stop"):
            self.app.hint("tui.rewrite.complete")
        elif turns.loaded is not None and not turns.loaded.can_continue:
            self.app.hint("backends.cannot_continue")
        else:
            turns.continue_reply(round_)

    @work
    async def _save_reply(self, round_: Round, reply: str) -> None:
        if reply == round_.reply:
            return
        turns = self.app.turns
        try:
            if turns.is_replying_here:
                raise ChatuiError(say("tui.rewrite.stop_first"))
            rounds = await turns.save_edited_reply(round_, reply)
        except ChatuiError as error:
            self.app.tell_user(str(error))
            self._edit_reply_text(round_, reply)
            return
        if rounds and round_.conversation_id == turns.current.id:
            await self._show_rounds(rounds)

    # Ratings and notes

    def action_rate(self, rating: Rating) -> None:
        """Rate the chosen reply; the same rating again removes it."""
        round_ = self._chosen_ended_round()
        if round_ is not None:
            self.post_message(RoundList.Rated(round_, rating))

    @on(RoundList.Rated)
    def _toggle_rating(self, event: RoundList.Rated) -> None:
        self._save_rating(event.round, 0 if event.round.rating == event.rating else event.rating)

    def action_rate_as(self, typed: str = "") -> None:
        """Rate the chosen reply with the argument of ``/rate``."""
        if typed not in _RATINGS:
            self._give_back((f"/rate {typed}",) if typed else ())
            self.app.hint("tui.command.rate")
        elif (round_ := self._chosen_ended_round()) is not None:
            self._save_rating(round_, _RATINGS[typed])

    def action_note(self, text: str = "") -> None:
        """Set the note on the chosen reply, or let the user edit it in the query box."""
        round_ = self._chosen_ended_round()
        if round_ is None:
            return
        save = partial(self._save_rating, round_, None)
        if text:
            save(text)
        else:
            self.edit_in_box(round_.note, say("tui.rewrite.note"), save, may_be_empty=True)

    def _chosen_ended_round(self) -> Round | None:
        """Return the chosen round; None, after telling the user, if its reply has not ended."""
        view = self._conversation.chosen
        if view is not None and view.round.state != "streaming":
            return view.round
        self.app.hint("tui.rewrite.nothing" if view is None else "tui.rewrite.running")
        return None

    @work
    async def _save_rating(
        self, round_: Round, rating: Rating | None = None, note: str | None = None
    ) -> None:
        changed = round_ if rating is None else replace(round_, rating=rating)
        changed = changed if note is None else replace(changed, note=note)
        # Shown before it is saved, so that a second key press refers to the new rating.
        self._conversation.replace(changed)
        store = self.app.store
        try:
            await store.queued(store.rate, round_.id, rating, note)
        except ChatuiError as error:
            self._conversation.replace(round_)
            self.app.tell_user(str(error))
            self._give_back((f"/note {note}",) if note else ())
