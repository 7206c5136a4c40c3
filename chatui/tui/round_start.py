"""Beginning a round: its row in the store, and the request for the backend."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from msgspec import Struct

from chatui.conversation.continued_reply import continuation_of, continuation_with_token
from chatui.conversation.rounds import Piece, Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, Loaded, ModelSpec, PartialReply
from chatui.prompting.parts import prompt_history
from chatui.tui.model_names import display_name, reply_author
from chatui.tui.waiting_queries import WaitingQuery


class RoundStart(Struct, frozen=True):
    """A round that has begun.

    Attributes:
        round: the round in the store.
        request: the request for the backend.
        begun_pieces: the pieces of the reply that it continues.
    """

    round: Round
    request: GenerateRequest
    begun_pieces: tuple[Piece, ...] = ()


async def begin_round(
    store: Store,
    query: WaitingQuery,
    spec: ModelSpec,
    loaded: Loaded,
    *,
    think: bool | None,
    alternatives: int,
) -> RoundStart:
    """Add the round of a query to the store, as the new head of its conversation.

    Args:
        spec: the model that answers.
        loaded: the backend's description of that model.
        think: whether the reply begins with thoughts; a choice recorded with the sibling wins.
        alternatives: the number of candidates to report for each token.

    Raises:
        ChatuiError: the store cannot be read or written, or a token of another model's reply is
            to be replaced.
    """
    conversation, sibling = query.conversation, query.sibling
    parent_id = conversation.head_id if sibling is None else sibling.parent_id
    author, prompt_format = reply_author(spec, loaded), loaded.format
    if sibling is not None and isinstance(recorded := sibling.sampling.get("think"), bool):
        think = recorded
    changes = conversation.changes if query.changes is None else query.changes
    settings = changes.sampling_for(spec)
    sampling = asdict(settings) | changes.to_record()
    sampling |= {} if think is None else {"think": think}
    begun_pieces: tuple[Piece, ...] = ()
    begun: PartialReply | None = None
    if sibling is not None and query.continues_reply:
        pieces = await asyncio.to_thread(store.pieces, sibling.id)
        is_same_model = sibling.model == author and sibling.format == prompt_format
        if query.replaced_token is None:
            begun_pieces, begun = continuation_of(sibling, pieces, same_tokens=is_same_model)
        elif is_same_model:
            begun_pieces, begun = continuation_with_token(pieces, *query.replaced_token)
        else:
            raise ChatuiError(say("tui.token_panel.other_model", model=display_name(sibling.model)))
        sampling |= {"edited": True} if sibling.sampling.get("edited") else {}
        sampling |= {"begun_pieces": len(begun_pieces)}
        sampling |= {} if begun.next_id < 0 else {"next_id": begun.next_id}
    path: tuple[Round, ...] = ()
    if conversation.id is not None and parent_id is not None:
        path = await asyncio.to_thread(store.rounds, conversation.id, parent_id)
    round_ = await store.queued(
        store.add_round, conversation.id, parent_id, query.text, author, prompt_format, sampling
    )
    conversation.head_id = round_.id
    if conversation.saved is None:
        conversation.saved = await asyncio.to_thread(store.conversation, round_.conversation_id)
    request = GenerateRequest(
        query.text,
        prompt_history((each.query, each.reply) for each in path),
        system=changes.system,
        sampling=settings,
        stop_strings=changes.stop_strings,
        alternatives=alternatives,
        think=think,
        partial_reply=begun,
        window=changes.window,
    )
    return RoundStart(round_, request, begun_pieces)
