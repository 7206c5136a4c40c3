"""The turns of all conversations: queue queries, load models, write and save replies.

:class:`Turns` runs in one task (:meth:`Turns.run`), which does one thing at a time: load a model or
answer a query. A reply continues while the user looks at another conversation. Events are reported
to the screen as :mod:`chatui.tui.turn_messages`, by a plain call on the same event loop.

Each class extends the one before it: ``ModelLoader`` (the model), ``Turns`` (queries and replies),
``ConversationNavigator`` (the conversation and branch on the screen), ``ComparingTurns``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from chatui.backends.protocol import Backend
from chatui.conversation.rounds import Conversation, Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, ModelSpec
from chatui.tui.model_loading import ModelLoader
from chatui.tui.queries import OpenConversation, Query
from chatui.tui.running_reply import RunningReply
from chatui.tui.turn_messages import ErrorOccurred, RoundBegun, TurnMessage, WaitingChanged


class Turns(ModelLoader):
    """The turns of all conversations of an app, with one model at a time.

    Attributes:
        current: the conversation on the screen.
        reply: the running reply, or the last one; it may belong to another conversation.
        alternatives: the number of candidates to keep for each token of a reply.
    """

    def __init__(
        self,
        spec: ModelSpec,
        store: Store,
        create_backend: Callable[[str], Backend],
        report: Callable[[TurnMessage], None],
    ) -> None:
        super().__init__(spec, create_backend, report)
        self.current = OpenConversation()
        self.reply: RunningReply | None = None
        self.alternatives = 0
        self._store = store
        self._queue: list[Query] = []
        self._answering: Query | None = None
        self._tasks: set[asyncio.Future[None]] = set()
        self._closed = False
        self._idle = asyncio.Event()
        self._in_use = asyncio.Lock()

    @property
    def conversation(self) -> Conversation | None:
        """The conversation on the screen; None before its first round."""
        return self.current.saved

    @property
    def waiting(self) -> tuple[str, ...]:
        """The waiting queries of the conversation on the screen, the next one first."""
        return tuple(query.text for query in self._queue if query.conversation is self.current)

    @property
    def unsent_texts(self) -> tuple[str, ...]:
        """The texts of the waiting queries of all conversations that are stored nowhere else."""
        return tuple(query.text for query in self._queue if query.has_unsaved_text)

    @property
    def reply_here(self) -> RunningReply | None:
        """The running reply of the conversation on the screen, or the last one since it opened."""
        return self.current.reply

    @property
    def is_replying(self) -> bool:
        """Whether a reply is being written in any conversation."""
        return self.reply is not None and not self.reply.ended

    @property
    def is_replying_here(self) -> bool:
        """Whether a reply is being written in the conversation on the screen."""
        return self.reply_here is not None and not self.reply_here.ended

    @property
    def is_busy(self) -> bool:
        """Whether a load or a reply is running or queued."""
        return bool(self._load_requested or self._queue or self._tasks or not self._idle.is_set())

    # Called by the screen

    def ask(self, query: str) -> None:
        """Queue a query that continues the conversation on the screen."""
        self._put(Query(self.current, query), len(self._queue))

    def regenerate(self, round_: Round, query: str | None = None) -> None:
        """Answer the query of a round again, as another version of the round.

        Args:
            query: replaces the round's own query.
        """
        self._put(Query(self.current, round_.query if query is None else query, round_))

    def continue_reply(self, round_: Round, replaced_token: tuple[int, int] | None = None) -> None:
        """Continue a reply, as another version of the round.

        Args:
            replaced_token: the index of the piece to replace, and the id of the token that takes
                its place; None continues from the end.
        """
        self._put(Query(self.current, round_.query, round_, True, replaced_token))

    def withdraw_query(self, index: int = -1) -> Query | None:
        """Withdraw a waiting query of this conversation, by default the last one."""
        here = [query for query in self._queue if query.conversation is self.current]
        query = next(iter(here[index:]), None)
        if query is not None:
            query.queue_index = self._queue.index(query)
            self._withdraw(lambda each: each is query)
        return query

    def put_back(self, query: Query, text: str | None = None) -> None:
        """Queue a withdrawn query at its old position, with a new text if one is given."""
        query.text = query.text if text is None else text
        self._put(query, query.queue_index)

    def stop(self) -> tuple[str, ...]:
        """Stop the reply on the screen, and withdraw and return this conversation's queries."""
        return self._stop(self.current)

    def drop_conversation(self, conversation_id: int) -> None:
        """Stop the reply and drop the waiting queries of a conversation that is being deleted."""
        active = self._active_conversation(conversation_id)
        if active is not None:
            if active.reply is not None:
                active.reply.discarded = True
            self._stop(active)

    async def close(self) -> None:
        """Stop and save the running reply, and close the backend; waiting queries are not sent."""
        self._closed = True
        if self.reply is not None:
            self._stop_reply(self.reply)
            self.reply.end("stopped")
            await self.reply.wait_until_saved()
        if self._backend is not None:
            await self._backend.close()

    # Queries and replies

    def _put(self, query: Query, index: int = 0) -> None:
        self._queue.insert(index, query)
        self._report_waiting()
        self._wake.set()

    def _withdraw(self, is_meant: Callable[[Query], bool]) -> tuple[str, ...]:
        """Withdraw waiting queries; return their texts that are stored nowhere else."""
        withdrawn = [query for query in self._queue if is_meant(query)]
        self._queue = [query for query in self._queue if query not in withdrawn]
        if withdrawn:
            self._report_waiting()
        return tuple(query.text for query in withdrawn if query.has_unsaved_text)

    def _withdraw_waiting(self) -> tuple[str, ...]:
        return self._withdraw(lambda query: not query.loads_own_model)

    def _report_waiting(self) -> None:
        self._report(WaitingChanged(self.waiting))

    def _active_conversation(self, conversation_id: int) -> OpenConversation | None:
        """Return a conversation that has a running or unsaved reply or a waiting query."""
        queries = (self._answering, *self._queue)
        active = (query.conversation for query in queries if query is not None)
        return next((each for each in active if each.id == conversation_id), None)

    def _stop(self, conversation: OpenConversation) -> tuple[str, ...]:
        if self._answering is not None and self._answering.conversation is conversation:
            self._answering.stopped = True
        self._stop_reply(conversation.reply)
        return self._withdraw(lambda query: query.conversation is conversation)

    def _stop_reply(self, reply: RunningReply | None) -> None:
        if reply is not None and not reply.ended and not reply.stopping:
            assert self._backend is not None
            self._run_in_background(reply.stop(self._backend))

    def _run_in_background(self, job: Coroutine[Any, Any, None]) -> None:
        """Run a job as a task, and keep the reference that the event loop does not keep."""
        task = asyncio.ensure_future(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The task

    async def run(self) -> None:
        """Load models and answer queries until cancelled."""
        while True:
            if self._load_requested:
                async with self._in_use:
                    await self._load()
            elif not self._queue or self._closed:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
                self._idle.clear()
            elif self.loaded is None and not self._queue[0].loads_own_model:
                self._load_requested = True
            else:
                async with self._in_use:
                    self._answering = self._queue.pop(0)
                    await self._answer(self._answering)
                    self._answering = None

    async def _answer(self, query: Query) -> None:
        """Answer a query; an error before its round begins gives it back to the user."""
        try:
            reply, request = await self._begin_reply(query)
        except ChatuiError as error:
            self._report_waiting()
            self._report(ErrorOccurred(str(error), (query.text,)))
        else:
            await self._write(query, reply, request)

    async def _begin_reply(self, query: Query) -> tuple[RunningReply, GenerateRequest]:
        """Begin the round of a query; return its reply and the request for the backend.

        Raises:
            ChatuiError: the store cannot be read or written.
        """
        assert self.loaded is not None
        conversation, is_first_round = query.conversation, query.conversation.saved is None
        self.reply, request = await query.begin_reply(
            self._store,
            self._report,
            self.spec,
            self.loaded,
            think=self.think,
            alternatives=self.alternatives,
        )
        if is_first_round and self.current.id == conversation.id:
            # The user opened it from the list before its first round was reported.
            self.current = conversation
        self._report_waiting()
        self._report(RoundBegun(self.reply.begun_round))
        return self.reply, request

    async def _write(self, query: Query, reply: RunningReply, request: GenerateRequest) -> None:
        """Write a reply to its end and save it; a missing model is loaded again once."""
        assert self._backend is not None
        lost: ChatuiError | None = None
        if query.stopped:
            reply.end("stopped")
        else:
            lost = await reply.run(self._backend, request)
        if lost is not None and not (reply.prompt_was_read or reply.ended):
            lost = None if await self._reload() else ChatuiError(say("tui.turn.gone"))
            if lost is None and not reply.ended:
                lost = await reply.run(self._backend, request)
        if lost is not None:
            self.loaded = None
            reply.end("failed", error=str(lost))
        await reply.wait_until_saved()
