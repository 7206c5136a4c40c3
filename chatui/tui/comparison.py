"""One query answered side by side, by several models, adapters or sampling settings.

There is one engine, so the replies are written one after the other. Each is saved as a version of
the same round.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from msgspec import Struct, field

from chatui.conversation.rounds import Round
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Loading, ModelSpec
from chatui.tui.conversation_opening import ConversationNavigator
from chatui.tui.queries import Query
from chatui.tui.running_reply import RunningReply
from chatui.tui.setting_changes import NO_CHANGES, SettingChanges
from chatui.tui.turn_messages import LoadFailed, LoadProgress, TurnMessage


class Column(Struct, eq=False):
    """One of the compared replies.

    Attributes:
        title: the model and the settings that differ.
        spec: the model that writes the reply; None if the reply exists or cannot be written.
        changes: replace the conversation's setting changes.
        existing: a round that already has this reply.
        loading: the progress of loading its model.
        reply: the reply, once it has begun.
        problem: why there is no reply, in one sentence.
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
        """The round with the reply so far; None before it has begun."""
        return self.existing if self.reply is None else self.reply.round


class Comparison(Query, eq=False, kw_only=True):
    """A query and the replies to it; ``stopped`` is True after the user stopped the comparison.

    Attributes:
        columns: the replies.
        previous_spec: the model that answered before.
        finished: set when no more replies will be written.
        closed: set when the user has chosen a reply.
    """

    loads_own_model: ClassVar[bool] = True

    columns: tuple[Column, ...]
    previous_spec: ModelSpec
    finished: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)


class ComparingTurns(ConversationNavigator):
    """Turns that can answer a query side by side."""

    _column: Column | None = None
    """The column that is being written."""

    def compare(
        self, query: str, columns: tuple[Column, ...], sibling: Round | None = None
    ) -> Comparison:
        """Answer a query in each column; other queries wait until :meth:`close_comparison`.

        Args:
            sibling: the round whose query it is; None appends to the head.
        """
        comparison = Comparison(
            self.current, query, sibling, columns=columns, previous_spec=self.spec
        )
        self._put(comparison)
        return comparison

    def stop_comparison(self, comparison: Comparison) -> None:
        """Stop the running reply or load, and begin no other."""
        comparison.stopped = True
        if comparison in self._queue:
            # It still waits, because the previous model is being loaded.
            self._withdraw(lambda query: query is comparison)
            comparison.finished.set()
        elif not comparison.finished.is_set():
            self.cancel_load()
            self._stop_reply(comparison.conversation.reply)

    async def close_comparison(
        self, comparison: Comparison, column: Column | None
    ) -> tuple[Round, ...]:
        """Stop the comparison, and continue with a column's reply, model and settings.

        Args:
            column: None continues with the first reply and the previous model.

        Returns:
            The rounds up to that reply; none if no column has one.

        Raises:
            ChatuiError: the store cannot be read.
        """
        self.stop_comparison(comparison)
        await comparison.finished.wait()
        try:
            written = [each for each in comparison.columns if each.round is not None]
            chosen = column if column in written else None
            spec = comparison.previous_spec
            if chosen is not None and chosen.spec is not None:
                spec, self.current.changes = chosen.spec, chosen.changes
            if spec != self.spec:
                self.switch(spec)
            shown = chosen or next(iter(written), None)
            if shown is None or shown.round is None:
                return ()
            return await self.go_to_round(shown.round)
        finally:
            comparison.closed.set()

    @property
    def unsent_texts(self) -> tuple[str, ...]:
        asked = self._answering
        texts = (asked.text,) if isinstance(asked, Comparison) and asked.has_unsaved_text else ()
        return (*texts, *super().unsent_texts)

    def _withdraw_waiting(self) -> tuple[str, ...]:
        return () if self._column is not None else super()._withdraw_waiting()

    def _report(self, message: TurnMessage) -> None:
        """Report an event; the progress and failure of a column's load go to the column."""
        column = self._column
        if column is not None and isinstance(message, LoadProgress):
            column.loading = message.loading
        elif column is not None and isinstance(message, LoadFailed):
            column.problem = message.sentence
            message = LoadFailed(message.spec, "")
        super()._report(message)

    async def _answer(self, query: Query) -> None:
        if not isinstance(query, Comparison):
            await super()._answer(query)
            return
        try:
            for column in query.columns:
                if column.spec is not None and not (query.stopped or self._closed):
                    self._column = column
                    await self._write_column(column, column.spec, query)
        finally:
            self._column = None
            self._report_waiting()
            query.finished.set()
        await query.closed.wait()

    async def _write_column(self, column: Column, spec: ModelSpec, asked: Comparison) -> None:
        """Load a column's model if it is not loaded, and write the column's reply."""
        if self.loaded is None or spec != self._loaded_spec:
            self.spec = spec
            await self._load()
            column.loading = None
        if column.problem or self.loaded is None or asked.stopped:
            return
        column.spec = self.spec
        part = Query(asked.conversation, asked.text, asked.sibling, changes=column.changes)
        try:
            column.reply, request = await self._begin_reply(part)
        except ChatuiError as error:
            column.problem = str(error)
            return
        asked.sibling = asked.sibling or column.reply.begun_round
        await self._write(asked, column.reply, request)


def column_problem(column: Column, comparison: Comparison) -> str:
    """Return why a column has no reply and will get none, or ""."""
    if column.round is not None:
        return ""
    is_skipped = comparison.finished.is_set() or comparison.stopped
    return column.problem or (say("overview.compare.not_begun") if is_skipped else "")
