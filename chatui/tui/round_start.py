"""How a round begins: its row in the store, what the backend is asked, and from what it goes on."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from msgspec import Struct

from chatui.conversation.continued_reply import continuation_of, continuation_with_token
from chatui.conversation.rounds import Piece, Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import BegunReply, GenerateRequest, Loaded, ModelSpec
from chatui.prompting.parts import prompt_history
from chatui.tui.model_names import display_name, reply_author
from chatui.tui.waiting_queries import WaitingQuery


class RoundStart(Struct, frozen=True):
    """A round that has begun.

    Attributes:
        round: as the store has it.
        request: what to ask the backend.
        written: the pieces of the reply that it goes on from.
    """

    round: Round
    request: GenerateRequest
    written: tuple[Piece, ...] = ()


async def begin_round(
    store: Store,
    query: WaitingQuery,
    spec: ModelSpec,
    loaded: Loaded,
    *,
    think: bool | None,
    alternatives: int,
) -> RoundStart:
    """Begin the round of a query in the store; it becomes the head of its conversation.

    Args:
        spec: the model that answers.
        loaded: what the backend said of it.
        think: whether it thinks first, unless the round beside says so.
        alternatives: how many candidates each token reports.

    Raises:
        ChatuiError: the store cannot be read or written, or another model's tokens are wanted.
    """
    of, beside = query.conversation, query.sibling
    parent_id = of.head_id if beside is None else beside.parent_id
    author, form = reply_author(spec, loaded), loaded.format
    if beside is not None and isinstance(recorded := beside.sampling.get("think"), bool):
        think = recorded
    changes = of.changes if query.changes is None else query.changes
    settings = changes.sampling_for(spec)
    sampling = asdict(settings) | changes.to_record()
    sampling |= {} if think is None else {"think": think}
    written: tuple[Piece, ...] = ()
    begun: BegunReply | None = None
    if beside is not None and query.continues_reply:
        pieces = await asyncio.to_thread(store.pieces, beside.id)
        is_same = beside.model == author and beside.format == form
        if query.replaced_token is None:
            written, begun = continuation_of(beside, pieces, ids_hold=is_same)
        elif is_same:
            written, begun = continuation_with_token(pieces, *query.replaced_token)
        else:
            raise ChatuiError(say("tui.token_panel.other_model", model=display_name(beside.model)))
        sampling |= {"edited": True} if beside.sampling.get("edited") else {}
        sampling |= {"begun_pieces": len(written)}
        sampling |= {} if begun.next_id < 0 else {"next_id": begun.next_id}
    path: tuple[Round, ...] = ()
    if of.id is not None and parent_id is not None:
        path = await asyncio.to_thread(store.rounds, of.id, parent_id)
    round_ = await store.queued(
        store.add_round, of.id, parent_id, query.text, author, form, sampling
    )
    of.head_id = round_.id
    if of.saved is None:
        of.saved = await asyncio.to_thread(store.conversation, round_.conversation_id)
    request = GenerateRequest(
        query.text,
        prompt_history((each.query, each.reply) for each in path),
        system=changes.system,
        sampling=settings,
        stop_strings=changes.stop_strings,
        alternatives=alternatives,
        think=think,
        begun=begun,
        window=changes.window,
    )
    return RoundStart(round_, request, written)
