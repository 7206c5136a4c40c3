"""The conversation on the screen, the branch of it that is shown, and its title."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from chatui.backends.protocol import Backend
from chatui.conversation.rounds import Round, title_from_query
from chatui.errors import BackendLost, ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, ModelSpec, Token
from chatui.prompting.parts import answer_of, prompt_history
from chatui.tui.queries import OpenConversation
from chatui.tui.setting_changes import NO_CHANGES, changes_from_record
from chatui.tui.turn import Turns
from chatui.tui.turn_messages import ErrorOccurred

_TITLE_ROUNDS = 3
_TITLE_ROUND_CHARACTERS = 500
_TITLE_TOKENS = 48
_TITLE_MARKS = " \t#*_《》「」“”\"'。.：:"
"""Stripped from both ends of a generated title."""


class ConversationNavigator(Turns):
    """Opens conversations and moves between their branches, while replies continue."""

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
        self.current = opened
        self._report_waiting()
        reply = self.reply_here
        if reply is None:
            return rounds
        return tuple(reply.round if each.id == reply.begun_round.id else each for each in rounds)

    def start_new(self) -> None:
        """Make a new conversation the current one; the store gets it with its first query."""
        self.current = OpenConversation()
        self._report_waiting()

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

    async def _save_head(self, conversation_id: int, head: int) -> None:
        try:
            await self._store.queued(self._store.set_head, conversation_id, head)
        except ChatuiError as error:
            self._report(ErrorOccurred(str(error)))


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
