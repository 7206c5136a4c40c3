"""What a reply that goes on from another one begins with."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from chatui.conversation.rounds import Piece, Round
from chatui.messages import PartialReply


def continuation_of(
    round_: Round, pieces: Sequence[Piece], *, ids_hold: bool
) -> tuple[tuple[Piece, ...], PartialReply]:
    """What a reply that goes on from a round's begins with.

    Args:
        pieces: the round's.
        ids_hold: whether the model that goes on has the same tokens.

    Returns:
        The pieces that stay, and the same for the backend: to the last token where the reply was
        cut, else by the text that was kept.
    """
    was_cut = round_.state != "done" or round_.finish_reason == "length"
    if not was_cut or not any(piece.text for piece in pieces):
        return (Piece(0.0, round_.reply),), PartialReply(round_.reply)
    kept = list(pieces)
    # The rest that came without a token: half a character, or what might have become a stop.
    rest = kept.pop().text if kept[-1].token_id < 0 and len(kept) > 1 else ""
    rest = rest.rstrip("\N{REPLACEMENT CHARACTER}")
    kept += [Piece(kept[-1].at_seconds, rest)] if rest else []
    if not ids_hold:
        kept = [replace(piece, token_id=-1) for piece in kept]
    return tuple(kept), begun_reply(kept)


def continuation_with_token(
    pieces: Sequence[Piece], index: int, token_id: int
) -> tuple[tuple[Piece, ...], PartialReply]:
    """What a reply begins with that takes another token than the piece at ``index``."""
    kept = tuple(pieces[:index])
    return kept, begun_reply(kept, token_id)


def begun_reply(pieces: Sequence[Piece], next_id: int = -1) -> PartialReply:
    """The beginning that pieces spell; ``next_id`` as in :class:`PartialReply`."""
    ids = tuple(piece.token_id for piece in pieces if piece.token_id >= 0)
    return PartialReply("".join(piece.text for piece in pieces), ids, next_id)
