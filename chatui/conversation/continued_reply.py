"""Continue a reply, branch off it, or continue from a point of a replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from chatui.conversation.playback import ReplayPoint
from chatui.conversation.rounds import Piece, Round, Transcript, interrupted
from chatui.conversation.store import Store
from chatui.messages import PartialReply


def continuation_of(
    round_: Round, pieces: Sequence[Piece], *, same_tokens: bool
) -> tuple[tuple[Piece, ...], PartialReply]:
    """Return the beginning of a reply that continues a round's reply.

    Args:
        pieces: the round's pieces.
        same_tokens: True if the continuing model has the same token ids.

    Returns:
        The pieces kept, and the beginning for the backend: token by token if the reply was cut
        off, otherwise as text.
    """
    was_cut = round_.state != "done" or round_.finish_reason == "length"
    if not was_cut or not any(piece.text for piece in pieces):
        return (Piece(0.0, round_.reply),), PartialReply(round_.reply)
    kept = list(pieces)
    # The last piece has no token if it flushed half a character or the start of a stop string.
    rest = kept.pop().text if kept[-1].token_id < 0 and len(kept) > 1 else ""
    rest = rest.rstrip("\N{REPLACEMENT CHARACTER}")
    kept += [Piece(kept[-1].at_seconds, rest)] if rest else []
    if not same_tokens:
        kept = [structs.replace(piece, token_id=-1) for piece in kept]
    return tuple(kept), partial_reply(kept)


def continuation_with_token(
    pieces: Sequence[Piece], index: int, token_id: int
) -> tuple[tuple[Piece, ...], PartialReply]:
    """Return the beginning of a reply that has ``token_id`` in place of the piece at ``index``.

    Returns:
        As :func:`continuation_of`.
    """
    kept = tuple(pieces[:index])
    return kept, partial_reply(kept, token_id)


def partial_reply(pieces: Sequence[Piece], next_id: int = -1) -> PartialReply:
    """Return pieces as a beginning for the backend; ``next_id`` as in :class:`PartialReply`."""
    ids = tuple(piece.token_id for piece in pieces if piece.token_id >= 0)
    return PartialReply("".join(piece.text for piece in pieces), ids, next_id)


def resume(store: Store, whole: Transcript, point: ReplayPoint) -> int:
    """Make ``point`` the end of the shown path and return the conversation's id.

    A transcript that is not in the store is imported. If the point is within a reply, a version of
    the round is added that was stopped there.

    Raises:
        ChatuiError: the store cannot be read or written.
    """
    conversation_id = _find_conversation(store, whole)
    if conversation_id is None:
        (conversation_id,) = store.add_conversations([whole])
    index = [each.id for each in whole.rounds].index(point.round.id)
    of_store = store.all_rounds(conversation_id)[index]
    if point.pieces is None:
        store.set_head(conversation_id, of_store.id)
        return conversation_id
    pieces = whole.pieces.get(point.round.id, ())[: point.pieces]
    is_whole = point.pieces > len(pieces)
    asked = of_store.parent_id, of_store.query, of_store.model, of_store.format
    known = conversation_id, *asked, of_store.sampling, of_store.seed
    begun = store.add_round(*known)
    ended = replace(
        interrupted(begun, pieces),
        state="stopped",
        finish_reason="cancelled",
        prompt_tokens=of_store.prompt_tokens,
    )
    if is_whole:
        # A reply without pieces is replayed as a whole.
        ended = replace(ended, reply=of_store.reply)
    store.finish_round(ended, pieces)
    return conversation_id


def _find_conversation(store: Store, whole: Transcript) -> int | None:
    """Return the id of the transcript's conversation in the store, which may have more rounds."""
    about = whole.conversation
    said = [(each.query, each.reply) for each in whole.rounds]
    for each in store.conversations(limit=-1):
        if (each.title, each.created_at) == (about.title, about.created_at):
            rounds = store.all_rounds(each.id)[: len(said)]
            if [(one.query, one.reply) for one in rounds] == said:
                return each.id
    return None
