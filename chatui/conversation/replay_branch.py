"""Continue from a point of a replay: make a branch in the store that ends there."""

from __future__ import annotations

from dataclasses import replace

from chatui.conversation.playback import ReplayPoint
from chatui.conversation.rounds import Transcript
from chatui.conversation.store import Store


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
    begun = store.add_round(
        conversation_id,
        of_store.parent_id,
        of_store.query,
        of_store.model,
        of_store.format,
        of_store.sampling,
        of_store.seed,
    )
    ended = replace(
        begun,
        state="stopped",
        # A reply without pieces is replayed as a whole.
        reply=of_store.reply if is_whole else "".join(piece.text for piece in pieces),
        finish_reason="cancelled",
        prompt_tokens=of_store.prompt_tokens,
        output_tokens=len(pieces),
        seconds=pieces[-1].at_seconds if pieces else 0.0,
    )
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
