"""Queries, the conversations that they belong to, and the reply that a query begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import ClassVar

from msgspec import Struct

from chatui.conversation.continued_reply import continuation_of, continuation_with_token
from chatui.conversation.rounds import Conversation, Piece, Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, Loaded, ModelSpec, PartialReply
from chatui.prompting.parts import prompt_history
from chatui.tui.model_names import display_name, reply_author
from chatui.tui.running_reply import RunningReply
from chatui.tui.setting_changes import NO_CHANGES, SettingChanges
from chatui.tui.turn_messages import TurnMessage


class OpenConversation(Struct, eq=False):
    """A conversation on the screen, or one with a running reply or a waiting query.

    Attributes:
        saved: its row in the store; None before its first round.
        head_id: the round that the next query follows; None for a first round.
        changes: the settings that differ from the model's preset.
        reply: the running reply, or the last one since it was opened.
    """

    saved: Conversation | None = None
    head_id: int | None = None
    changes: SettingChanges = NO_CHANGES
    reply: RunningReply | None = None

    @property
    def id(self) -> int | None:
        return None if self.saved is None else self.saved.id


class Query(Struct, eq=False):
    """A query that waits or is being answered.

    Attributes:
        conversation: the conversation that it belongs to.
        text: the text of the query.
        sibling: the round of which this makes another version; None appends to the head.
        continues_reply: True if the reply continues the sibling's reply.
        replaced_token: with ``continues_reply``, the index of the piece to replace and the id of
            the token that takes its place; None continues from the end.
        changes: replace the conversation's; None keeps those.
        stopped: True if the user stopped it, perhaps before its reply began.
        queue_index: its position in the queue before it was withdrawn.
    """

    loads_own_model: ClassVar[bool] = False
    """Whether it stays in the queue when a model cannot be loaded."""

    conversation: OpenConversation
    text: str
    sibling: Round | None = None
    continues_reply: bool = False
    replaced_token: tuple[int, int] | None = None
    changes: SettingChanges | None = None
    stopped: bool = False
    queue_index: int = -1

    @property
    def has_unsaved_text(self) -> bool:
        """True if its text is stored nowhere else."""
        return self.sibling is None or self.text != self.sibling.query

    async def begin_reply(
        self,
        store: Store,
        report: Callable[[TurnMessage], None],
        spec: ModelSpec,
        loaded: Loaded,
        *,
        think: bool | None = None,
        alternatives: int = 0,
    ) -> tuple[RunningReply, GenerateRequest]:
        """Add its round to the store, as the new head of its conversation.

        Args:
            report: called with the messages of the reply.
            spec: the model that answers.
            loaded: the backend's description of that model.
            think: whether the reply begins with thoughts; a choice recorded with the sibling wins.
            alternatives: the number of candidates to report for each token.

        Returns:
            The reply, and the request for the backend.

        Raises:
            ChatuiError: the store cannot be read or written, or a token of another model's reply
                is to be replaced.
        """
        conversation, sibling = self.conversation, self.sibling
        parent_id = conversation.head_id if sibling is None else sibling.parent_id
        author, prompt_format = reply_author(spec, loaded), loaded.format
        if sibling is not None and isinstance(recorded := sibling.sampling.get("think"), bool):
            think = recorded
        changes = conversation.changes if self.changes is None else self.changes
        settings = changes.sampling_for(spec)
        sampling = asdict(settings) | changes.to_record()
        sampling |= {} if think is None else {"think": think}
        begun_pieces: tuple[Piece, ...] = ()
        begun: PartialReply | None = None
        if sibling is not None and self.continues_reply:
            pieces = await asyncio.to_thread(store.pieces, sibling.id)
            is_same_model = sibling.model == author and sibling.format == prompt_format
            if self.replaced_token is None:
                begun_pieces, begun = continuation_of(sibling, pieces, same_tokens=is_same_model)
            elif is_same_model:
                begun_pieces, begun = continuation_with_token(pieces, *self.replaced_token)
            else:
                model = display_name(sibling.model)
                raise ChatuiError(say("tui.token_panel.other_model", model=model))
            sampling |= {"edited": True} if sibling.sampling.get("edited") else {}
            sampling |= {"begun_pieces": len(begun_pieces)}
            sampling |= {} if begun.next_id < 0 else {"next_id": begun.next_id}
        path: tuple[Round, ...] = ()
        if conversation.id is not None and parent_id is not None:
            path = await asyncio.to_thread(store.rounds, conversation.id, parent_id)
        round_ = await store.queued(
            store.add_round, conversation.id, parent_id, self.text, author, prompt_format, sampling
        )
        conversation.head_id = round_.id
        if conversation.saved is None:
            conversation.saved = await asyncio.to_thread(store.conversation, round_.conversation_id)
        conversation.reply = RunningReply(round_, store, report, begun_pieces)
        return conversation.reply, GenerateRequest(
            self.text,
            prompt_history((each.query, each.reply) for each in path),
            system=changes.system,
            sampling=settings,
            stop_strings=changes.stop_strings,
            alternatives=alternatives,
            think=think,
            partial_reply=begun,
            window=changes.window,
        )
