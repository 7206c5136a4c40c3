"""The conversation on the screen and the branch of it that is shown."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from chatui.backends.protocol import Backend
from chatui.conversation.rounds import Conversation, Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.messages import ModelSpec
from chatui.tui.model_loading import ModelLoader
from chatui.tui.running_reply import RunningReply
from chatui.tui.setting_changes import NO_CHANGES, changes_from_record
from chatui.tui.turn_messages import ErrorOccurred, TurnMessage
from chatui.tui.waiting_queries import OpenConversation


class ConversationNavigator(ModelLoader):
    """Opens conversations and moves between their branches, while replies continue.

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
        """The running reply, or the last one, if it belongs to the conversation on the screen."""

    @abstractmethod
    def _active_conversation(self, conversation_id: int) -> OpenConversation | None:
        """Return a conversation that has a running or unsaved reply or a waiting query."""

    @abstractmethod
    def _report_waiting(self) -> None:
        """Report the waiting queries of the conversation on the screen."""

    @property
    def conversation(self) -> Conversation | None:
        """The conversation on the screen; None before its first round."""
        return self.current.saved

    async def open(self, conversation_id: int, round_id: int | None = None) -> tuple[Round, ...]:
        """Make a conversation the current one.

        Args:
            round_id: a round to show, on another branch than the last one if necessary.

        Returns:
            The rounds from the first to the head.

        Raises:
            ChatuiError: the conversation cannot be read.
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
        active = self._active_conversation(conversation_id)
        opened = active or OpenConversation(saved, head, changes)
        opened.saved = saved
        self._set_current(opened)
        reply = self.reply_here
        if reply is None:
            return rounds
        return tuple(reply.round if each.id == reply.begun_round.id else each for each in rounds)

    def start_new(self) -> None:
        """Make a new conversation the current one; the store gets it with its first query."""
        self._set_current(OpenConversation())

    async def go_to_version(self, round_: Round, step: int) -> tuple[Round, ...]:
        """Go to the version ``step`` places after a round, and the newest branch through it.

        Returns:
            The rounds of that branch; none if there is no such version.

        Raises:
            ChatuiError: the store cannot be read.
        """
        versions = await asyncio.to_thread(self._store.siblings, round_.id)
        index = [each.id for each in versions].index(round_.id) + step
        return await self.go_to_round(versions[index]) if 0 <= index < len(versions) else ()

    async def go_to_round(self, round_: Round) -> tuple[Round, ...]:
        """Go to a round of this conversation, and the newest branch through it.

        Returns:
            The rounds of that branch.

        Raises:
            ChatuiError: the store cannot be read.
        """
        current = self.current
        head = await asyncio.to_thread(self._store.leaf, round_.id)
        rounds = await asyncio.to_thread(self._store.rounds, round_.conversation_id, head)
        current.head_id = head
        self._run_in_background(self._save_head(round_.conversation_id, head))
        return rounds

    async def save_edited_reply(self, round_: Round, reply: str) -> tuple[Round, ...]:
        """Save ``reply`` as another version of a round, written by the user.

        Returns:
            The rounds up to the new version; none if a query was sent meanwhile, which follows the
            version before.

        Raises:
            ChatuiError: it cannot be saved.
        """
        current, store = self.current, self._store
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
        is_active = self._active_conversation(round_.conversation_id) is not None
        if is_active and current.head_id is not None:
            await store.queued(store.set_head, round_.conversation_id, current.head_id)
            return ()
        current.head_id = begun.id
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
        """Run a job as a task, and keep the reference that the event loop does not keep."""
        task = asyncio.ensure_future(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
