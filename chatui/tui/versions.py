"""The versions of a round: replies to the same query, and the query edited."""

from __future__ import annotations

from chatui.conversation.rounds import Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError


def version_of(store: Store, round_: Round) -> tuple[int, int]:
    """Which version a round is, from 1, and of how many; (1, 1) where the store cannot tell."""
    try:
        ids = [sibling.id for sibling in store.siblings(round_.id)]
    except ChatuiError:
        return 1, 1
    return (ids.index(round_.id) + 1, len(ids)) if round_.id in ids else (1, 1)


def version_beside(store: Store, round_: Round, step: int) -> int | None:
    """The id of the version ``step`` places after a round; None where there is none.

    Raises:
        ChatuiError: the store cannot be read.
    """
    ids = [sibling.id for sibling in store.siblings(round_.id)]
    place = ids.index(round_.id) + step
    return ids[place] if 0 <= place < len(ids) else None
