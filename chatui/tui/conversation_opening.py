"""Which conversation is looked at, and which of its branches. No widgets here."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from chatui.backends.protocol import Backend
from chatui.conversation.rounds import Conversation, Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.messages import ModelSpec
from chatui.tui.model_loading import ModelLoading
from chatui.tui.running_reply import RunningReply
from chatui.tui.setting_changes import NO_CHANGES, changes_from_record
from chatui.tui.turn_messages import ErrorOccurred, TurnMessage
from chatui.tui.waiting_queries import OpenConversation


class ConversationOpening(ModelLoading, ABC):
    """Opens conversations and goes between their branches; what is going on goes on.

    Attributes:
        current: the conversation on the screen.
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
        self._store = store
        self._tasks: set[asyncio.Future[None]] = set()

    @property
    @abstractmethod
    def reply_here(self) -> RunningReply | None:
        """The running or last reply, if it belongs to the conversation on the screen."""

    @abstractmethod
    def _active_conversation(self, conversation_id: int) -> OpenConversation | None:
        """The conversation if it has a running or unsaved reply or queries that wait."""

    @abstractmethod
    def _report_waiting(self) -> None:
        """Tell which queries of the conversation on the screen wait."""

    @property
    def conversation(self) -> Conversation | None:
        """The conversation on the screen; None until its first round."""
        return self.current.saved

    async def open(self, conversation_id: int, round_id: int | None = None) -> tuple[Round, ...]:
        """Go on with a conversation; its rounds from the first to the head.

        Args:
            round_id: a round that is to be among them; if need be another path is looked at.

        Raises:
            ChatuiError: it cannot be read.
        """
        saved = await asyncio.to_thread(self._store.conversation, conversation_id)
        head = saved.head_id
        rounds = await asyncio.to_thread(self._store.rounds, conversation_id, head)
        if round_id is not None and round_id not in (each.id for each in rounds):
            head = await asyncio.to_thread(self._store.leaf, round_id)
            rounds = await asyncio.to_thread(self._store.rounds, conversation_id, head)
            self._run_in_background(self._save_head(conversation_id, head))
            if (active := self._active_conversation(conversation_id)) is not None:
                active.head_id = head
        changes = changes_from_record(rounds[-1].sampling) if rounds else NO_CHANGES
        opened = self._active_conversation(conversation_id) or OpenConversation(
            saved, head, changes
        )
        opened.saved = saved
        self._set_current(opened)
        reply = self.reply_here
        if reply is None:
            return rounds
        return tuple(reply.round if each.id == reply.begun_round.id else each for each in rounds)

    def start_new(self) -> None:
        """Begin a new conversation with the next query."""
        self._set_current(OpenConversation())

    async def go_to_version(self, round_: Round, step: int) -> tuple[Round, ...]:
        """Look at the version ``step`` places after a round, and the path that goes on from it.

        Returns:
            The rounds of that path; none if there is no such version.

        Raises:
            ChatuiError: it cannot be read.
        """
        versions = await asyncio.to_thread(self._store.siblings, round_.id)
        place = [each.id for each in versions].index(round_.id) + step
        return await self.go_to_round(versions[place]) if 0 <= place < len(versions) else ()

    async def go_to_round(self, round_: Round) -> tuple[Round, ...]:
        """Look at a round of this conversation, and the newest path that goes on from it.

        Returns:
            The rounds of that path.

        Raises:
            ChatuiError: it cannot be read.
        """
        looked_at = self.current
        head = await asyncio.to_thread(self._store.leaf, round_.id)
        rounds = await asyncio.to_thread(self._store.rounds, round_.conversation_id, head)
        looked_at.head_id = head
        self._run_in_background(self._save_head(round_.conversation_id, head))
        return rounds

    async def save_edited_reply(self, round_: Round, reply: str) -> tuple[Round, ...]:
        """Put ``reply`` beside that of a round, as another version that the user wrote.

        Returns:
            The rounds up to the new one; none if another query was asked meanwhile, which goes on
            from the reply as it was.

        Raises:
            ChatuiError: it cannot be saved.
        """
        looked_at, store = self.current, self._store
        begun = await store.queued(
            store.add_round,
            round_.conversation_id,
            round_.parent_id,
            round_.query,
            round_.model,
            round_.format,
            {**round_.sampling, "edited": True},
            None,
            round_.id,
        )
        written = replace(begun, state="done", reply=reply)
        await store.queued(store.finish_round, written)
        if (
            self._active_conversation(round_.conversation_id) is not None
            and looked_at.head_id is not None
        ):
            await store.queued(store.set_head, round_.conversation_id, looked_at.head_id)
            return ()
        looked_at.head_id = begun.id
        return await asyncio.to_thread(store.rounds, round_.conversation_id, begun.id)

    def _set_current(self, opened: OpenConversation) -> None:
        self.current = opened
        self._report_waiting()

    async def _save_head(self, conversation_id: int, head: int) -> None:
        try:
            await self._store.queued(self._store.set_head, conversation_id, head)
        except ChatuiError as error:
            self._report(ErrorOccurred(str(error)))

    def _run_in_background(self, job: Coroutine[Any, Any, None]) -> None:
        """Run a job beside the others; the loop itself keeps no reference to it."""
        task = asyncio.ensure_future(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
