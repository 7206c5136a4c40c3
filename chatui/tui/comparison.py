"""One query answered side by side: by several models, with several adapters, or sampled otherwise.

There is one engine, so the replies are written one after the other. Each is a round beside the
others, saved as it comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from msgspec import Struct, field

from chatui.backends.protocol import Backend
from chatui.conversation.rounds import Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Loading, ModelSpec
from chatui.tui.running_reply import RunningReply
from chatui.tui.setting_changes import NO_CHANGES, SettingChanges
from chatui.tui.turn import Turns
from chatui.tui.turn_messages import LoadFailed, LoadProgress, TurnMessage
from chatui.tui.waiting_queries import WaitingQuery


class Column(Struct, eq=False):
    """One of the replies.

    Attributes:
        title: who writes it, and how.
        spec: the model that writes it; None if it is there already or cannot be had.
        changes: in place of the conversation's.
        existing: a round that has this reply already.
        loading: how far its model has been read, while it is.
        reply: the reply, once it has begun.
        problem: why there is none, in a sentence.
    """

    title: str
    spec: ModelSpec | None = None
    changes: SettingChanges = NO_CHANGES
    existing: Round | None = None
    loading: Loading | None = None
    reply: RunningReply | None = None
    problem: str = ""

    @property
    def round(self) -> Round | None:
        """The reply as it stands now; None before it has begun."""
        return self.existing if self.reply is None else self.reply.round


class Comparison(Struct, eq=False):
    """The replies to one query.

    Attributes:
        query: what is answered.
        before: the model from before.
        stopped: the user wants no more of it.
        over: nothing more comes.
        left: the user has said what to go on with.
    """

    query: str
    columns: tuple[Column, ...]
    previous_spec: ModelSpec
    stopped: bool = False
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)


class ComparedQuery(WaitingQuery, eq=False):
    """A query that waits for its replies side by side."""

    comparison: Comparison | None = None


class ComparingTurns(Turns):
    """Turns that can answer a query side by side."""

    def __init__(
        self,
        spec: ModelSpec,
        store: Store,
        create_backend: Callable[[str], Backend],
        report: Callable[[TurnMessage], None],
    ) -> None:
        super().__init__(spec, store, create_backend, self._report_beside_column)
        self._report_all = report
        self._asked: ComparedQuery | None = None
        self._comparing: ComparedQuery | None = None
        self._column: Column | None = None

    def compare(
        self, query: str, columns: tuple[Column, ...], beside: Round | None = None
    ) -> Comparison:
        """Answer a query in each of the columns; nothing else goes on before :meth:`leave`.

        Args:
            beside: the round whose query it is; None goes on from the head.
        """
        comparison = Comparison(query, columns, self.spec)
        self._asked = ComparedQuery(
            self.current, query, beside, loads_own_model=True, comparison=comparison
        )
        self._put(self._asked)
        return comparison

    def stop_comparison(self, comparison: Comparison) -> None:
        """End the running reply or load, and begin no other."""
        comparison.stopped = True
        if self._asked is not None and self._waiting.withdraw(self._asked):
            # The model from before is still being loaded.
            comparison.finished.set()
        elif self._comparing is not None and not comparison.finished.is_set():
            self.cancel_load()
            self._stop_reply(self._comparing.conversation)

    async def close_comparison(
        self, comparison: Comparison, column: Column | None
    ) -> tuple[Round, ...]:
        """Go on with the reply of a column, its model and its settings.

        Args:
            column: None goes on with the first reply, and the model from before.

        Returns:
            The rounds up to that reply; none if no column has one.

        Raises:
            ChatuiError: they cannot be read.
        """
        self.stop_comparison(comparison)
        await comparison.finished.wait()
        try:
            with_round = [each for each in comparison.columns if each.round is not None]
            chosen = column if column in with_round else None
            spec = comparison.previous_spec
            if chosen is not None and chosen.spec is not None:
                spec, self.current.changes = chosen.spec, chosen.changes
            if spec != self.spec:
                self.switch(spec)
            shown = chosen or next(iter(with_round), None)
            if shown is None or shown.round is None:
                return ()
            return await self.go_to_round(shown.round)
        finally:
            comparison.closed.set()

    @property
    def unsent_texts(self) -> tuple[str, ...]:
        asked = self._comparing
        is_new = asked is not None and asked.has_unsaved_text
        return (*((asked.text,) if asked is not None and is_new else ()), *super().unsent_texts)

    def _report_beside_column(self, message: TurnMessage) -> None:
        """Tell what happens; how a column's load goes stands in the column."""
        column = self._column
        if column is not None and isinstance(message, LoadProgress):
            column.loading = message.loading
        elif column is not None and isinstance(message, LoadFailed):
            column.problem = message.sentence
            message = LoadFailed(message.spec, "")
        self._report_all(message)

    def _withdraw_waiting(self) -> tuple[str, ...]:
        return () if self._column is not None else super()._withdraw_waiting()

    async def _answer_next(self) -> None:
        query = self._waiting.next
        if not isinstance(query, ComparedQuery) or query.comparison is None:
            await super()._answer_next()
            return
        comparison, self._comparing = query.comparison, query
        self._waiting.pop()
        try:
            for column in comparison.columns:
                if column.spec is not None and not (comparison.stopped or self._closed):
                    await self._write_column(column, column.spec, query, comparison)
        finally:
            self._column = self._comparing = None
            self._report_waiting()
            comparison.finished.set()
        await comparison.closed.wait()

    async def _write_column(
        self, column: Column, spec: ModelSpec, query: ComparedQuery, comparison: Comparison
    ) -> None:
        """Load a column's model, if it is another, and write its reply."""
        self._column = column
        if self.loaded is None or spec != self._loaded_spec:
            self.spec = spec
            await self._load()
            column.loading = None
        if column.problem or self.loaded is None or comparison.stopped:
            return
        column.spec = self.spec
        part = WaitingQuery(query.conversation, query.text, query.sibling, changes=column.changes)
        try:
            reply, request = await self._begin_reply(part)
        except ChatuiError as error:
            column.problem = str(error)
            return
        column.reply = reply
        query.sibling = query.sibling or reply.begun_round
        await self._write(part, reply, request)


def column_problem(column: Column, comparison: Comparison) -> str:
    """Why a column has no reply and will have none; "" for all others."""
    if column.round is not None:
        return ""
    is_left_out = comparison.finished.is_set() or comparison.stopped
    return column.problem or (say("overview.compare.not_begun") if is_left_out else "")
