"""Actions that rate replies and add notes, by which training examples can be chosen."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType

from chatui.conversation.rounds import Rating, Round
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.tui.screens.edit_actions import EditActions
from chatui.tui.widgets.round_list import RoundList

_RATINGS: dict[str, Rating] = {
    **dict.fromkeys(("+", "+1", "good", "好"), 1),
    **dict.fromkeys(("-", "-1", "−", "bad", "差"), -1),
    **dict.fromkeys(("0", "none", "无"), 0),
}
"""Arguments of ``/rate``."""


class RatingActions(EditActions):
    """Rates the chosen reply and adds a note to it."""

    # Alt with a sign needs the kitty protocol; U and J, one above the other, work everywhere.
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("alt+u,alt+plus", "rate(1)", "tui.keys.rate_good"),
        Binding("alt+j,alt+minus", "rate(-1)", "tui.keys.rate_bad"),
        Binding("alt+n", "note", "tui.keys.note"),
    ]

    async def action_rate(self, rating: Rating) -> None:
        """Rate the chosen reply; the same rating again removes it."""
        round_ = self._chosen_ended_round()
        if round_ is not None:
            self._save_rating(round_, 0 if round_.rating == rating else rating)

    @on(RoundList.Rated)
    async def _on_rated(self, event: RoundList.Rated) -> None:
        self._save_rating(event.round, 0 if event.round.rating == event.rating else event.rating)

    def action_rate_as(self, typed: str = "") -> None:
        """Rate the chosen reply with the argument of ``/rate``."""
        if typed not in _RATINGS:
            self._give_back((f"/rate {typed}",) if typed else ())
            self.app.tell_user(say("tui.command.rate"), "information")
        elif (round_ := self._chosen_ended_round()) is not None:
            self._save_rating(round_, _RATINGS[typed])

    def action_note(self, text: str = "") -> None:
        """Set the note on the chosen reply, or let the user edit it in the query box."""
        round_ = self._chosen_ended_round()
        if round_ is None:
            return
        if text:
            self._save_rating(round_, note=text)
            return

        async def save(text: str) -> None:
            self._save_rating(round_, note=text)

        self.edit_in_box(round_.note, say("tui.rewrite.note"), save, may_be_empty=True)

    def _chosen_ended_round(self) -> Round | None:
        """Return the chosen round; None, after telling the user, if its reply has not ended."""
        view = self._conversation.chosen
        if view is not None and view.round.state != "streaming":
            return view.round
        words = say("tui.rewrite.nothing" if view is None else "tui.rewrite.running")
        self.app.tell_user(words, "information")
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
