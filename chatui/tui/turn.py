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
from chatui.tui.title_writing import written_title
from chatui.tui.turn_messages import (
    RoundBegun,
    Trouble,
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
        tell: Callable[[TurnMessage], None],
    ) -> None:
        super().__init__(spec, store, create_backend, tell)
        self.reply: RunningReply | None = None
        self.alternatives = 0
        self._reply_of = self.current
        self._waiting = WaitingQueries(self._tell_waiting)
        self._beginning: WaitingQuery | None = None
        self._closed = False
        self._idle = asyncio.Event()
        self._in_use = asyncio.Lock()

    @property
    def waiting(self) -> tuple[str, ...]:
        """The queries of the conversation on the screen that wait, oldest first."""
        return tuple(query.text for query in self._waiting.of(self.current))

    @property
    def reply_here(self) -> RunningReply | None:
        return self.reply if self._reply_of is self.current else None

    @property
    def replying(self) -> bool:
        """Whether a reply is being written, in whatever conversation."""
        return self.reply is not None and not self.reply.ended

    @property
    def replying_here(self) -> bool:
        """Whether a reply is being written in the conversation on the screen."""
        return self.replying and self._reply_of is self.current

    @property
    def busy(self) -> bool:
        """Whether anything is going on or about to."""
        return bool(self._load_wanted or self._waiting or self._tasks or not self._idle.is_set())

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

    def go_on(self, round_: Round) -> None:
        """Write a reply on from where it ended, as another version beside it."""
        self._put(WaitingQuery(self.current, round_.query, round_, goes_on=True))

    def take_instead(self, round_: Round, piece: int, token_id: int) -> None:
        """Write a reply on from another token than its ``piece``, as another version beside it."""
        self._put(WaitingQuery(self.current, round_.query, round_, True, (piece, token_id)))

    def _put(self, query: WaitingQuery, *, first: bool = True) -> None:
        self._waiting.put(query, first=first)
        self._wake.set()

    @property
    def unsent(self) -> tuple[str, ...]:
        """The texts of all queries that wait, in all conversations."""
        return self._waiting.unsent()

    def take_waiting(self, index: int = -1) -> WaitingQuery | None:
        """Withdraw a query of this conversation, by default the last; None if none waits."""
        return self._waiting.take(self.current, index)

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
        if self.busy or self._in_use.locked() or self.loaded is None or backend is None:
            raise ChatuiError(say("organise.title.busy"))
        async with self._in_use:
            rounds = await asyncio.to_thread(self._store.rounds, id_)
            try:
                return await written_title(backend, rounds, self.spec)
            except BackendLost:
                self.loaded = None
                raise

    def forget(self, conversation_id: int) -> None:
        """A conversation is being deleted: end its reply and drop its waiting queries."""
        active = self._active(conversation_id)
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
            await self.reply.saved()
        if self._backend is not None:
            await self._backend.close()

    def _active(self, conversation_id: int) -> OpenConversation | None:
        active = self._waiting.conversations()
        if not self._idle.is_set():
            active += [self._reply_of] + ([self._beginning.of] if self._beginning else [])
        return next((each for each in active if each.id == conversation_id), None)

    def _stop(self, of: OpenConversation) -> tuple[str, ...]:
        queries = self._waiting.take_back(of)
        self._stop_reply(of)
        return queries

    def _stop_reply(self, of: OpenConversation) -> None:
        if self._beginning is not None and self._beginning.of is of:
            self._beginning.stopped = True
        reply = self.reply
        if reply is not None and self._reply_of is of and not reply.ended and not reply.stopping:
            assert self._backend is not None
            self._keep(reply.stop(self._backend))

    def _take_waiting_back(self) -> tuple[str, ...]:
        return self._waiting.take_back()

    def _tell_waiting(self) -> None:
        self._tell(WaitingChanged(self.waiting))

    # What then happens

    async def run(self) -> None:
        """Load the model and answer queries until cancelled."""
        while True:
            if self._load_wanted:
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
            self._load_wanted = True
            return
        query = self._waiting.take_next()
        try:
            reply, request = await self._begin_reply(query)
        except ChatuiError as error:
            self._tell_waiting()
            self._tell(Trouble(str(error), (query.text,)))
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
        reply = self.reply = RunningReply(start.round, self._store, self._tell, start.written)
        self._reply_of = query.of
        self._tell_waiting()
        self._tell(RoundBegun(start.round))
        return reply, start.request

    async def _write(
        self, query: WaitingQuery, reply: RunningReply, request: GenerateRequest
    ) -> None:
        """Write a reply to its end, and save it."""
        if query.stopped:
            reply.finish("stopped")
        else:
            await self._run(reply, request)
        if reply.lost:
            self.loaded = None
        await reply.saved()

    async def _begin(self, query: WaitingQuery) -> RoundStart:
        """Begin the round of a query in the store.

        Raises:
            ChatuiError: the store cannot be read or written.
        """
        assert self.loaded is not None
        of, is_new = query.of, query.of.saved is None
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
        await reply.run(self._backend, request, may_be_gone=True)
        if reply.lost and not reply.ended:
            reply.lost = not await self._load_again()
            if reply.lost:
                reply.finish("failed", error=say("tui.turn.gone"))
            elif not reply.ended:
                await reply.run(self._backend, request)
