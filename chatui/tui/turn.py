"""The turns of all conversations: queue queries, load models, write and save replies.

:class:`Turns` runs in one task (:meth:`Turns.run`), which does one thing at a time: load a model or
answer a query. A reply continues while the user looks at another conversation. Events are reported
to the screen as :mod:`chatui.tui.turn_messages`, by a plain call on the same event loop.

Each class extends the one before it: ``ModelLoader`` (the model), ``ConversationNavigator`` (the
conversation and branch on the screen), ``Turns`` (queries and replies), ``ComparingTurns``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from chatui.backends.protocol import Backend
from chatui.conversation.rounds import Round, title_from_query
from chatui.conversation.store import Store
from chatui.errors import BackendLost, ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, ModelSpec, Token
from chatui.prompting.parts import answer_of, prompt_history
from chatui.tui.conversation_opening import ConversationNavigator
from chatui.tui.round_start import begin_round
from chatui.tui.running_reply import RunningReply
from chatui.tui.turn_messages import ErrorOccurred, RoundBegun, TurnMessage, WaitingChanged
from chatui.tui.waiting_queries import OpenConversation, WaitingQueries, WaitingQuery

_TITLE_ROUNDS = 3
_TITLE_ROUND_CHARACTERS = 500
_TITLE_TOKENS = 48
_TITLE_MARKS = " \t#*_《》「」“”\"'。.：:"
"""Stripped from both ends of a generated title."""


class Turns(ConversationNavigator):
    """The turns of all conversations of an app, with one model at a time.

    Attributes:
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
        """The waiting queries of the conversation on the screen, the next one first."""
        return tuple(query.text for query in self._waiting.queries_of(self.current))

    @property
    def reply_here(self) -> RunningReply | None:
        return self.reply if self._reply_of is self.current else None

    @property
    def is_replying(self) -> bool:
        """Whether a reply is being written in any conversation."""
        return self.reply is not None and not self.reply.ended

    @property
    def is_replying_here(self) -> bool:
        """Whether a reply is being written in the conversation on the screen."""
        return self.is_replying and self._reply_of is self.current

    @property
    def is_busy(self) -> bool:
        """Whether a load or a reply is running or queued."""
        return bool(self._load_requested or self._waiting or self._tasks or not self._idle.is_set())

    # Called by the screen

    def ask(self, query: str) -> None:
        """Queue a query that continues the conversation on the screen."""
        self._put(WaitingQuery(self.current, query), first=False)

    def regenerate(self, round_: Round, query: str | None = None) -> None:
        """Answer the query of a round again, as another version of the round.

        Args:
            query: replaces the round's own query.
        """
        text = round_.query if query is None else query
        self._put(WaitingQuery(self.current, text, round_))

    def continue_reply(self, round_: Round) -> None:
        """Continue a reply from its end, as another version of the round."""
        self._put(WaitingQuery(self.current, round_.query, round_, continues_reply=True))

    def continue_from_token(self, round_: Round, piece: int, token_id: int) -> None:
        """Replace one token of a reply and continue from there, as another version of the round.

        Args:
            piece: the index of the piece to replace.
            token_id: the token that takes its place.
        """
        self._put(WaitingQuery(self.current, round_.query, round_, True, (piece, token_id)))

    def _put(self, query: WaitingQuery, *, first: bool = True) -> None:
        self._waiting.put(query, first=first)
        self._wake.set()

    @property
    def unsent_texts(self) -> tuple[str, ...]:
        """The texts of the waiting queries of all conversations that are stored nowhere else."""
        return self._waiting.unsent_texts()

    def withdraw_query(self, index: int = -1) -> WaitingQuery | None:
        """Withdraw a waiting query of this conversation, by default the last one."""
        return self._waiting.withdraw_at(self.current, index)

    def put_back(self, query: WaitingQuery, text: str | None = None) -> None:
        """Queue a withdrawn query at its old position, with a new text if one is given."""
        query.text = query.text if text is None else text
        self._waiting.put_back(query)
        self._wake.set()

    def stop(self) -> tuple[str, ...]:
        """Stop the reply on the screen, and withdraw and return this conversation's queries."""
        return self._stop(self.current)

    async def write_title(self) -> str:
        """Return a title for the conversation on the screen, written by the model.

        Raises:
            ChatuiError: there is no round yet, or the model is busy, gone, or wrote no title.
        """
        id_, backend = self.current.id, self._backend
        if id_ is None:
            raise ChatuiError(say("tui.rewrite.nothing"))
        if self.is_busy or self._in_use.locked() or self.loaded is None or backend is None:
            raise ChatuiError(say("organise.title.busy"))
        async with self._in_use:
            rounds = await asyncio.to_thread(self._store.rounds, id_)
            try:
                return await _generate_title(backend, rounds, self.spec)
            except BackendLost:
                self.loaded = None
                raise

    def drop_conversation(self, conversation_id: int) -> None:
        """Stop the reply and drop the waiting queries of a conversation that is being deleted."""
        active = self._active_conversation(conversation_id)
        if active is not None:
            if self.reply is not None and self._reply_of is active:
                self.reply.discarded = True
            self._stop(active)

    async def close(self) -> None:
        """Stop and save the running reply, and close the backend; waiting queries are not sent."""
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

    def _stop(self, conversation: OpenConversation) -> tuple[str, ...]:
        self._stop_reply(conversation)
        return self._waiting.withdraw_all(conversation)

    def _stop_reply(self, conversation: OpenConversation) -> None:
        if self._beginning is not None and self._beginning.conversation is conversation:
            self._beginning.stopped = True
        reply = self.reply if self._reply_of is conversation else None
        if reply is not None and not reply.ended and not reply.stopping:
            assert self._backend is not None
            self._run_in_background(reply.stop(self._backend))

    def _withdraw_waiting(self) -> tuple[str, ...]:
        return self._waiting.withdraw_all()

    def _report_waiting(self) -> None:
        self._report(WaitingChanged(self.waiting))

    # The task

    async def run(self) -> None:
        """Load models and answer queries until cancelled."""
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
        """Answer the next query, or request a load if there is no model."""
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
        """Begin the round of a query; return its reply and the request for the backend.

        Raises:
            ChatuiError: the store cannot be read or written.
        """
        assert self.loaded is not None
        conversation, is_first_round = query.conversation, query.conversation.saved is None
        self._beginning = query
        try:
            start = await begin_round(
                self._store,
                query,
                self.spec,
                self.loaded,
                think=self.think,
                alternatives=self.alternatives,
            )
        finally:
            self._beginning = None
        if is_first_round and self.current.id == conversation.id:
            # The user opened it from the list before its first round was reported.
            self.current = conversation
        reply = RunningReply(start.round, self._store, self._report, start.begun_pieces)
        self.reply, self._reply_of = reply, conversation
        self._report_waiting()
        self._report(RoundBegun(start.round))
        return reply, start.request

    async def _write(
        self, query: WaitingQuery, reply: RunningReply, request: GenerateRequest
    ) -> None:
        """Write a reply to its end and save it; a missing model is loaded again once."""
        assert self._backend is not None
        if query.stopped:
            reply.finish("stopped")
        else:
            await reply.run(self._backend, request, model_may_be_gone=True)
        if reply.model_lost and not reply.ended:
            reply.model_lost = not await self._reload()
            if reply.model_lost:
                reply.finish("failed", error=say("tui.turn.gone"))
            elif not reply.ended:
                await reply.run(self._backend, request)
        if reply.model_lost:
            self.loaded = None
        await reply.wait_until_saved()


async def _generate_title(backend: Backend, rounds: Sequence[Round], spec: ModelSpec) -> str:
    """Return a title of one line for a conversation that begins with ``rounds``.

    Raises:
        ChatuiError: the model cannot answer, or its answer has no text.
    """
    limit = _TITLE_ROUND_CHARACTERS
    request = GenerateRequest(
        say("organise.title.ask"),
        prompt_history((each.query[:limit], each.reply[:limit]) for each in rounds[:_TITLE_ROUNDS]),
        sampling=replace(spec.sampling, max_new_tokens=_TITLE_TOKENS),
        think=False,
    )
    text = ""
    async for event in backend.generate(request):
        text += event.text if isinstance(event, Token) else ""
    lines = (line.strip(_TITLE_MARKS) for line in answer_of(text).splitlines())
    title = title_from_query(next(filter(None, lines), ""))
    if not title:
        raise ChatuiError(say("organise.title.none"))
    return title
