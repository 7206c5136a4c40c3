"""What shows the conversation as a whole: replies side by side."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.binding import Binding, BindingType

from chatui.conversation.rounds import Round
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.tui.comparison import Column
from chatui.tui.screens.commanding import CommandingScreen

if TYPE_CHECKING:
    from chatui.tui.screens.candidates import Candidate


class OverviewScreen(CommandingScreen):
    """Opens the views that stand beside or over the conversation."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("alt+d", "compare", "overview.keys.compare"),
    ]

    async def action_compare(self) -> None:
        """Answer what is in the query box side by side, else the query of the chosen round."""
        await self._compare(self._box.query_text.strip(), from_box=True)

    async def command_compare(self, query: str) -> None:
        """Answer ``query`` side by side."""
        await self._compare(query)

    async def _compare(self, query: str, *, from_box: bool = False) -> None:
        from chatui.tui.screens import choosing
        from chatui.tui.screens.candidate_picker import CandidatesScreen

        turns, view = self.app.turns, self._conversation.chosen
        if turns.busy:
            self._tell_user(say("overview.compare.first"), "information")
            if query and not from_box:
                self._give_back((query,))
            return
        beside: Round | None = None if query or view is None else view.round
        if not query and beside is None:
            self.rewrite("", say("overview.compare.query"), self._compare)
            return
        versions: tuple[Round, ...] = ()
        try:
            if beside is not None:
                versions = await asyncio.to_thread(self.app.store.siblings, beside.id)
        except ChatuiError as error:
            self._tell_user(str(error))
            return

        async def take(chosen: tuple[Candidate, ...] | None) -> None:
            if chosen is None:
                self._give_back((query,) if query and not from_box else ())
                return
            if from_box and query:
                self._box.set_query("")
            self._begin_comparison(query, beside, chosen)

        title = query if beside is None else beside.query
        screen = CandidatesScreen(title, versions, turns.current.changes)
        await choosing.show(self.app, screen, take)

    @work
    async def _begin_comparison(
        self, query: str, beside: Round | None, chosen: tuple[Candidate, ...]
    ) -> None:
        from chatui.tui.screens.candidates import column_of
        from chatui.tui.screens.compare import CompareScreen

        turns = self.app.turns
        text = await self.filled(query) if beside is None else beside.query
        if text is None:
            self._give_back((query,))
            return
        columns = [await column_of(each, self.app.settings) for each in chosen]
        comparison = turns.compare(text, tuple(columns), beside)
        column: Column | None = await self.app.push_screen_wait(CompareScreen(turns, comparison))
        try:
            rounds = await turns.leave(comparison, column)
        except ChatuiError as error:
            self._tell_user(str(error))
            return
        if rounds:
            await self._show_rounds(rounds)
        elif query:
            self._give_back((query,))
            self._tell_user(say("overview.compare.nothing"), "information")
