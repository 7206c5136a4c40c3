"""How a turn flows: query, round in the store, backend's events, saved reply. No widgets here.

:class:`Turns` does one thing after the other in one task (:meth:`Turns.run`): load a model, answer
a query. What happens is told to the screen as the small messages of
:mod:`chatui.tui.turn_messages`, by a plain call on the same event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace

from chatui.backends.protocol import Backend
from chatui.conversation.rounds import Conversation, Round
from chatui.conversation.store import Store
from chatui.conversation.writer import RoundWriter
from chatui.errors import BackendLost, ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, Loaded, Loading, ModelSpec
from chatui.prompting.parts import read_again
from chatui.tui.adapter_names import author_of
from chatui.tui.reply import Reply
from chatui.tui.turn_messages import (
    LoadFailed,
    LoadProgress,
    ModelReady,
    RoundBegun,
    Trouble,
    TurnMessage,
    WaitingChanged,
)

logger = logging.getLogger(__name__)


class Turns:
    """One conversation with one model at a time.

    Attributes:
        spec: the model that answers the next query.
        first: the model of the start, with all that the command line said of it.
        loaded: what the backend said of it; None until it is loaded.
        conversation: None until the first query of a new one.
        head_id: the round that the next query follows; None for a first round.
        think: whether the next reply begins with thoughts; None leaves it to the model.
        waiting: queries that are sent when the model is ready, oldest first.
        reply: the running or last reply of this conversation.
    """

    def __init__(
        self,
        spec: ModelSpec,
        store: Store,
        create_backend: Callable[[str], Backend],
        tell: Callable[[TurnMessage], None],
    ) -> None:
        """
        Args:
            create_backend: a new backend by the name in a spec.
            tell: called with everything that happens.
        """
        self.spec = self.first = spec
        self.think = spec.think
        self.loaded: Loaded | None = None
        self.conversation: Conversation | None = None
        self.head_id: int | None = None
        self.waiting: deque[str] = deque()
        self.reply: Reply | None = None
        self._store = store
        self._create_backend = create_backend
        self._tell = tell
        self._backend: Backend | None = None
        self._backend_name = ""
        self._loaded_spec: ModelSpec | None = None
        self._load_wanted = True
        self._again: Round | None = None
        self._stops: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    @property
    def replying(self) -> bool:
        """Whether a reply is being written."""
        return self.reply is not None and not self.reply.ended

    @property
    def busy(self) -> bool:
        """Whether anything is going on or about to."""
        return bool(self._load_wanted or self._again or self.waiting or not self._idle.is_set())

    # What the user does

    def ask(self, query: str) -> None:
        """Answer ``query`` as soon as what is going on has ended."""
        self.waiting.append(query)
        self._tell(WaitingChanged(tuple(self.waiting)))
        self._wake.set()

    def regenerate(self, round_: Round) -> None:
        """Answer the query of ``round_`` once more, as another version beside it."""
        self._again = round_
        self._wake.set()

    def switch(self, spec: ModelSpec) -> None:
        """Give the next round to another model."""
        self.spec, self.think = spec, spec.think
        self._load_wanted = True
        self._wake.set()

    def stop(self) -> tuple[str, ...]:
        """End the running reply at once and keep what was said; the queries that were waiting."""
        waiting = tuple(self.waiting)
        if waiting:
            self.waiting.clear()
            self._tell(WaitingChanged(()))
        if self.reply is not None and self.replying and not self.reply.stopping:
            assert self._backend is not None
            task = asyncio.ensure_future(self.reply.stop(self._backend))
            self._stops.add(task)
            task.add_done_callback(self._stops.discard)
        return waiting

    def open(self, conversation_id: int) -> tuple[Round, ...]:
        """Go on with a conversation; its rounds from the first to the head.

        Raises:
            ChatuiError: it cannot be read.
        """
        self._leave()
        self.conversation = self._store.conversation(conversation_id)
        self.head_id = self.conversation.head_id
        return self._store.rounds(conversation_id)

    def new(self) -> None:
        """Begin a new conversation with the next query."""
        self._leave()
        self.conversation = None
        self.head_id = None

    def look_at(self, round_id: int) -> tuple[Round, ...]:
        """Look at another version of a round: the path that goes on from it.

        Raises:
            ChatuiError: it cannot be read.
        """
        assert self.conversation is not None
        self._leave()
        head = self._store.leaf(round_id)
        self.conversation = self._store.set_head(self.conversation.id, head)
        self.head_id = head
        return self._store.rounds(self.conversation.id)

    async def close(self) -> None:
        """End the reply, saved as stopped, and give the model back."""
        self._leave()
        if self._backend is not None:
            await self._backend.close()

    # What then happens

    async def run(self) -> None:
        """Load the model and answer queries until cancelled."""
        while True:
            if self._load_wanted:
                await self._load()
            elif self._again is None and not self.waiting:
                self._idle.set()
                self._wake.clear()
                await self._wake.wait()
                self._idle.clear()
            elif self.loaded is None:
                self._load_wanted = True
            elif self._again is not None:
                await self._answer_again(self._again)
            else:
                await self._answer_next()

    async def _load(self) -> None:
        """Load ``self.spec``; where that fails, the model from before stays."""
        spec, before = self.spec, self._backend
        self._load_wanted = False
        self._tell(LoadProgress(spec, Loading("")))
        new: Backend | None = None
        try:
            if before is None or self._backend_name != spec.backend:
                new = self._create_backend(spec.backend)
            loaded = None
            async for event in (new or before).load(spec):  # type: ignore[union-attr]
                if isinstance(event, Loaded):
                    loaded = event
                else:
                    self._tell(LoadProgress(spec, event))
        except ChatuiError as error:
            await self._after_failed_load(spec, new, error)
            return
        except Exception:
            logger.exception("the model could not be loaded")
            await self._after_failed_load(spec, new, BackendLost(say("tui.turn.load_broke_off")))
            return
        if new is not None:
            self._backend, self._backend_name = new, spec.backend
            if before is not None:
                await before.close()
        if loaded is not None and loaded.name != spec.name:
            # A server was asked for its first model, and only it knows which one that is.
            named = replace(spec, name=loaded.name)
            self.first = named if self.first is spec else self.first
            self.spec, spec = named if self.spec is spec else self.spec, named
        self.loaded, self._loaded_spec = loaded, spec
        if loaded is not None:
            self._tell(ModelReady(spec, loaded))

    async def _after_failed_load(
        self, failed: ModelSpec, new: Backend | None, error: ChatuiError
    ) -> None:
        if new is not None:
            await new.close()
        elif isinstance(error, BackendLost):
            self.loaded = None
        if self._loaded_spec is not None and not self._load_wanted:
            self.spec = self._loaded_spec
        self._again = None
        waiting = tuple(self.waiting)
        self.waiting.clear()
        self._tell(WaitingChanged(()))
        self._tell(LoadFailed(failed, str(error), waiting))

    async def _answer_next(self) -> None:
        query = self.waiting.popleft()
        self._tell(WaitingChanged(tuple(self.waiting)))
        await self._answer(query, self.head_id, self.think)

    async def _answer_again(self, round_: Round) -> None:
        self._again = None
        think = round_.sampling.get("think", self.think)
        await self._answer(round_.query, round_.parent_id, think)

    async def _answer(self, query: str, parent_id: int | None, think: bool | None) -> None:
        assert self.loaded is not None
        try:
            if self.conversation is None:
                self.conversation = self._store.create_conversation()
            earlier = self._history(parent_id)
            begun = self._store.add_round(
                self.conversation.id,
                parent_id,
                query,
                model=author_of(self.spec),
                format=self.loaded.format,
                sampling=asdict(self.spec.sampling) | ({} if think is None else {"think": think}),
            )
        except ChatuiError as error:
            self._tell(Trouble(str(error), (query,)))
            return
        self.head_id = begun.id
        reply = self.reply = Reply(begun, RoundWriter(self._store, begun.id), self._tell)
        self._tell(RoundBegun(begun))
        assert self._backend is not None
        request = GenerateRequest(query, earlier, sampling=self.spec.sampling, think=think)
        await reply.run(self._backend, request, may_be_gone=True)
        if reply.lost and not reply.ended:
            reply.lost = not await self._load_again()
            if reply.lost:
                reply.finish("failed", error=say("tui.turn.gone"))
            elif not reply.ended:
                await reply.run(self._backend, request)
        if reply.lost:
            self.loaded = None

    async def _load_again(self) -> bool:
        """The model went away while nobody asked for it: load the same one, whatever F2 wants.

        Returns whether it is there again.
        """
        assert self._loaded_spec is not None
        wanted, self.spec = self.spec, self._loaded_spec
        switches, self.loaded = self._load_wanted, None
        await self._load()
        if switches and not self._load_wanted:
            self.switch(wanted)
        return self.loaded is not None

    def _history(self, parent_id: int | None) -> tuple[tuple[str, str], ...]:
        """The earlier rounds as the model reads them; the screen marks those left out."""
        if parent_id is None or self.conversation is None:
            return ()
        path = self._store.rounds(self.conversation.id, parent_id)
        read = ((round_.query, read_again(round_.reply)) for round_ in path)
        return tuple((query, reply) for query, reply in read if reply.strip())

    def _leave(self) -> None:
        """The user looks elsewhere: end the reply without waiting for the backend."""
        self._again = None
        self.stop()
        if self.reply is not None:
            self.reply.finish("stopped")
        self.reply = None
