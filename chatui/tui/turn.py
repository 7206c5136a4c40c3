"""How a turn flows: query, round in the store, backend's events, saved reply. No widgets here.

:class:`Turns` does one thing after the other in one task (:meth:`Turns.run`): load a model, answer
a query. A reply goes on while the user looks at another conversation. What happens is told to the
screen as the messages of :mod:`chatui.tui.turn_messages`, by a plain call on the same event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chatui.backends.protocol import Backend
from chatui.conversation.rounds import Round
from chatui.conversation.store import Store
from chatui.errors import BackendLost, ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, ModelSpec
from chatui.tui.conversation_opening import ConversationOpening
from chatui.tui.round_start import RoundStart, begin_round
from chatui.tui.running_reply import RunningReply
from chatui.tui.title_writing import generate_title
from chatui.tui.turn_messages import (
    ErrorOccurred,
    RoundBegun,
    TurnMessage,
    WaitingChanged,
)
from chatui.tui.waiting_queries import OpenConversation, WaitingQueries, WaitingQuery


class Turns(ConversationOpening):
    """All conversations of one app, with one model at a time.

    Attributes:
        reply: the running or last reply, of whatever conversation.
        alternatives: how many of the best candidates for each token the replies are to keep.
    """

    def __init__(
        self,
        spec: ModelSpec,
        store: Store,
        create_backend: Callable[[str], Backend],
        report: Callable[[TurnMessage], None],
    ) -> None:
        super().__init__(spec, store, create_backend, report)
        self.reply: RunningReply | None = None
        self.alternatives = 0
        self._reply_of = self.current
        self._waiting = WaitingQueries(self._report_waiting)
        self._beginning: WaitingQuery | None = None
        self._closed = False
        self._idle = asyncio.Event()
        self._in_use = asyncio.Lock()

    @property
    def waiting(self) -> tuple[str, ...]:
        """The queries of the conversation on the screen that wait, oldest first."""
        return tuple(query.text for query in self._waiting.queries_of(self.current))

    @property
    def reply_here(self) -> RunningReply | None:
        return self.reply if self._reply_of is self.current else None

    @property
    def is_replying(self) -> bool:
        """Whether a reply is being written, in whatever conversation."""
        return self.reply is not None and not self.reply.ended

    @property
    def is_replying_here(self) -> bool:
        """Whether a reply is being written in the conversation on the screen."""
        return self.is_replying and self._reply_of is self.current

    @property
    def is_busy(self) -> bool:
        """Whether anything is going on or about to."""
        return bool(self._load_requested or self._waiting or self._tasks or not self._idle.is_set())

    # What the user does

    def ask(self, query: str) -> None:
        """Answer ``query`` as soon as what is going on has ended."""
        self._put(WaitingQuery(self.current, query), first=False)

    def regenerate(self, round_: Round, query: str | None = None) -> None:
        """Answer the query of ``round_`` once more, as another version beside it.

        Args:
            query: answered in place of the round's own.
        """
        text = round_.query if query is None else query
        self._put(WaitingQuery(self.current, text, round_))

    def continue_reply(self, round_: Round) -> None:
        """Write a reply on from where it ended, as another version beside it."""
        self._put(WaitingQuery(self.current, round_.query, round_, continues_reply=True))

    def continue_from_token(self, round_: Round, piece: int, token_id: int) -> None:
        """Write a reply on from another token than its ``piece``, as another version beside it."""
        self._put(WaitingQuery(self.current, round_.query, round_, True, (piece, token_id)))

    def _put(self, query: WaitingQuery, *, first: bool = True) -> None:
        self._waiting.put(query, first=first)
        self._wake.set()

    @property
    def unsent_texts(self) -> tuple[str, ...]:
        """The texts of all queries that wait, in all conversations."""
        return self._waiting.unsent_texts()

    def withdraw_query(self, index: int = -1) -> WaitingQuery | None:
        """Withdraw a query of this conversation, by default the last; None if none waits."""
        return self._waiting.withdraw_at(self.current, index)

    def put_back(self, query: WaitingQuery, text: str | None = None) -> None:
        """Have a withdrawn query wait again, with another text if one is given."""
        query.text = query.text if text is None else text
        self._waiting.put_back(query)
        self._wake.set()

    def stop(self) -> tuple[str, ...]:
        """End the reply on the screen at once, keeping what was said.

        Returns:
            The queries of this conversation that were waiting; they are not sent.
        """
        return self._stop(self.current)

    async def write_title(self) -> str:
        """Have the model write a title for the conversation on the screen.

        Raises:
            ChatuiError: it has no round, the model is busy or is gone, or writes none.
        """
        id_, backend = self.current.id, self._backend
        if id_ is None:
            raise ChatuiError(say("tui.rewrite.nothing"))
        if self.is_busy or self._in_use.locked() or self.loaded is None or backend is None:
            raise ChatuiError(say("organise.title.busy"))
        async with self._in_use:
            rounds = await asyncio.to_thread(self._store.rounds, id_)
            try:
                return await generate_title(backend, rounds, self.spec)
            except BackendLost:
                self.loaded = None
                raise

    def drop_conversation(self, conversation_id: int) -> None:
        """A conversation is being deleted: end its reply and drop its waiting queries."""
        active = self._active_conversation(conversation_id)
        if active is not None:
            if self.reply is not None and self._reply_of is active:
                self.reply.discarded = True
            self._stop(active)

    async def close(self) -> None:
        """End the reply, saved as stopped, and give the model back; what waits is not begun."""
        self._closed = True
        if self.reply is not None:
            self._stop_reply(self._reply_of)
            self.reply.finish("stopped")
            await self.reply.wait_until_saved()
        if self._backend is not None:
            await self._backend.close()

    def _active_conversation(self, conversation_id: int) -> OpenConversation | None:
        active = self._waiting.conversations()
        if not self._idle.is_set():
            active += [self._reply_of] + ([self._beginning.conversation] if self._beginning else [])
        return next((each for each in active if each.id == conversation_id), None)

    def _stop(self, of: OpenConversation) -> tuple[str, ...]:
        queries = self._waiting.withdraw_all(of)
        self._stop_reply(of)
        return queries

    def _stop_reply(self, of: OpenConversation) -> None:
        if self._beginning is not None and self._beginning.conversation is of:
            self._beginning.stopped = True
        reply = self.reply
        if reply is not None and self._reply_of is of and not reply.ended and not reply.stopping:
            assert self._backend is not None
            self._run_in_background(reply.stop(self._backend))

    def _withdraw_waiting(self) -> tuple[str, ...]:
        return self._waiting.withdraw_all()

    def _report_waiting(self) -> None:
        self._report(WaitingChanged(self.waiting))

    # What then happens

    async def run(self) -> None:
        """Load the model and answer queries until cancelled."""
        while True:
            if self._load_requested:
                async with self._in_use:
                    await self._load()
            elif not self._waiting or self._closed:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
                self._idle.clear()
            else:
                async with self._in_use:
                    await self._answer_next()

    async def _answer_next(self) -> None:
        """Answer the query whose turn it is, if there is a model."""
        if self.loaded is None:
            self._load_requested = True
            return
        query = self._waiting.pop()
        try:
            reply, request = await self._begin_reply(query)
        except ChatuiError as error:
            self._report_waiting()
            self._report(ErrorOccurred(str(error), (query.text,)))
            return
        await self._write(query, reply, request)

    async def _begin_reply(self, query: WaitingQuery) -> tuple[RunningReply, GenerateRequest]:
        """Begin the round of a query; its reply, and what to ask the backend.

        Raises:
            ChatuiError: the store cannot be read or written.
        """
        self._beginning = query
        try:
            start = await self._begin(query)
        finally:
            self._beginning = None
        reply = self.reply = RunningReply(start.round, self._store, self._report, start.written)
        self._reply_of = query.conversation
        self._report_waiting()
        self._report(RoundBegun(start.round))
        return reply, start.request

    async def _write(
        self, query: WaitingQuery, reply: RunningReply, request: GenerateRequest
    ) -> None:
        """Write a reply to its end, and save it."""
        if query.stopped:
            reply.finish("stopped")
        else:
            await self._run(reply, request)
        if reply.model_lost:
            self.loaded = None
        await reply.wait_until_saved()

    async def _begin(self, query: WaitingQuery) -> RoundStart:
        """Begin the round of a query in the store.

        Raises:
            ChatuiError: the store cannot be read or written.
        """
        assert self.loaded is not None
        of, is_new = query.conversation, query.conversation.saved is None
        start = await begin_round(
            self._store,
            query,
            self.spec,
            self.loaded,
            think=self.think,
            alternatives=self.alternatives,
        )
        if is_new and self.current.id == of.id:
            # It was opened from the list before its first round was told here.
            self.current = of
        return start

    async def _run(self, reply: RunningReply, request: GenerateRequest) -> None:
        """Have the backend reply, once more if its model turns out to be gone."""
        assert self._backend is not None
        await reply.run(self._backend, request, model_may_be_gone=True)
        if reply.model_lost and not reply.ended:
            reply.model_lost = not await self._reload()
            if reply.model_lost:
                reply.finish("failed", error=say("tui.turn.gone"))
            elif not reply.ended:
                await reply.run(self._backend, request)
