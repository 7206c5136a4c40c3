"""The beginning of a reply that continues or branches off another one."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from chatui.conversation.rounds import Piece, Round
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
        kept = [replace(piece, token_id=-1) for piece in kept]
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
