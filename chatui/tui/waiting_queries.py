"""The queries that wait for their turn, in all conversations of one app."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from chatui.conversation.rounds import Conversation, Round
from chatui.tui.setting_changes import NO_CHANGES, SettingChanges


class OpenConversation(Struct, eq=False):
    """A conversation that the user looks at, or that a query or a reply belongs to.

    Attributes:
        saved: None until its first round.
        head_id: the round that the next query follows; None for a first round.
        changes: what it does otherwise than the model's preset says.
    """

    saved: Conversation | None = None
    head_id: int | None = None
    changes: SettingChanges = NO_CHANGES

    @property
    def id(self) -> int | None:
        return None if self.saved is None else self.saved.id


class WaitingQuery(Struct, eq=False):
    """A query that waits for its turn.

    Attributes:
        of: the conversation that it goes on.
        text: what the user typed.
        beside: the round that it makes another version of; None goes on from the head.
        goes_on: whether the reply goes on from that round's.
        takes: with ``goes_on``: from which of its pieces on another is written, and the id of the
            token that comes in its place; None goes on from its end.
        changes: in place of the conversation's; None leaves those.
        stopped: the user stopped it while its round was being begun.
        place: where it waited in the queue, after it was withdrawn.
        loads_own_model: whether it can be answered where no model could be loaded.
    """

    conversation: OpenConversation
    text: str
    sibling: Round | None = None
    continues_reply: bool = False
    replaced_token: tuple[int, int] | None = None
    changes: SettingChanges | None = None
    stopped: bool = False
    queue_index: int = -1
    loads_own_model: bool = False

    @property
    def has_unsaved_text(self) -> bool:
        """Whether its text stands nowhere else, and would be lost with it."""
        return self.sibling is None or self.text != self.sibling.query


class WaitingQueries:
    """A queue, the next query first."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """
        Args:
            changed: called when a query came or went.
        """
        self._queries: list[WaitingQuery] = []
        self._changed = changed

    def __bool__(self) -> bool:
        return bool(self._queries)

    def queries_of(self, conversation: OpenConversation) -> tuple[WaitingQuery, ...]:
        """Those of one conversation, the next one first."""
        return tuple(query for query in self._queries if query.conversation is conversation)

    def conversations(self) -> list[OpenConversation]:
        """The conversation of each query."""
        return [query.conversation for query in self._queries]

    def unsent_texts(self) -> tuple[str, ...]:
        """The texts that would be lost."""
        return tuple(query.text for query in self._queries if query.has_unsaved_text)

    def put(self, query: WaitingQuery, *, first: bool = False) -> None:
        """Add a query at the end, or before all others."""
        self._queries.insert(0 if first else len(self._queries), query)
        self._changed()

    def withdraw_at(self, of: OpenConversation, index: int) -> WaitingQuery | None:
        """Withdraw a query of a conversation by its index, -1 the last; None if it is not there."""
        mine = self.queries_of(of)
        if not -1 <= index < len(mine) or not mine:
            return None
        taken = mine[index]
        taken.queue_index = self._queries.index(taken)
        self._queries.remove(taken)
        self._changed()
        return taken

    def withdraw(self, query: WaitingQuery) -> bool:
        """Have a query wait no more; whether it did."""
        did_wait = query in self._queries
        if did_wait:
            self._queries.remove(query)
            self._changed()
        return did_wait

    def put_back(self, query: WaitingQuery) -> None:
        """Have a withdrawn query wait where it did, as far as those before it still wait."""
        self._queries.insert(query.queue_index, query)
        self._changed()

    @property
    def next(self) -> WaitingQuery:
        """The query whose turn it is."""
        return self._queries[0]

    def pop(self) -> WaitingQuery:
        """The query whose turn it is; it does not wait any more."""
        return self._queries.pop(0)

    def withdraw_all(self, of: OpenConversation | None = None) -> tuple[str, ...]:
        """Withdraw the queries of a conversation, or all that need a model that cannot be had.

        Returns:
            The texts that would be lost.
        """
        gone = [
            query
            for query in self._queries
            if (not query.loads_own_model if of is None else query.conversation is of)
        ]
        self._queries = [query for query in self._queries if query not in gone]
        if gone:
            self._changed()
        return tuple(query.text for query in gone if query.has_unsaved_text)
