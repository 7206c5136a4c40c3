"""The queries that wait to be answered, in all conversations of one app."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from chatui.conversation.rounds import Conversation, Round
from chatui.tui.setting_changes import NO_CHANGES, SettingChanges


class OpenConversation(Struct, eq=False):
    """A conversation on the screen, or one with a running reply or a waiting query.

    Attributes:
        saved: its row in the store; None before its first round.
        head_id: the round that the next query follows; None for a first round.
        changes: the settings that differ from the model's preset.
    """

    saved: Conversation | None = None
    head_id: int | None = None
    changes: SettingChanges = NO_CHANGES

    @property
    def id(self) -> int | None:
        return None if self.saved is None else self.saved.id


class WaitingQuery(Struct, eq=False):
    """A query that waits to be answered.

    Attributes:
        conversation: the conversation that it belongs to.
        text: the text of the query.
        sibling: the round of which this makes another version; None appends to the head.
        continues_reply: True if the reply continues the sibling's reply.
        replaced_token: with ``continues_reply``, the index of the piece to replace and the id of
            the token that takes its place; None continues from the end.
        changes: replace the conversation's; None keeps those.
        stopped: True if the user stopped it while its round was being begun.
        queue_index: its position in the queue before it was withdrawn.
        loads_own_model: True if it stays in the queue when a model cannot be loaded.
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
        """True if its text is stored nowhere else."""
        return self.sibling is None or self.text != self.sibling.query


class WaitingQueries:
    """A queue of queries."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """
        Args:
            on_change: called after a query was added or withdrawn.
        """
        self._queries: list[WaitingQuery] = []
        self._on_change = on_change

    def __bool__(self) -> bool:
        return bool(self._queries)

    def queries_of(self, conversation: OpenConversation) -> tuple[WaitingQuery, ...]:
        """Return the queries of one conversation, the next one first."""
        return tuple(query for query in self._queries if query.conversation is conversation)

    def conversations(self) -> list[OpenConversation]:
        """Return the conversation of each query."""
        return [query.conversation for query in self._queries]

    def unsent_texts(self) -> tuple[str, ...]:
        """Return the texts that are stored nowhere else."""
        return tuple(query.text for query in self._queries if query.has_unsaved_text)

    def put(self, query: WaitingQuery, *, first: bool = False) -> None:
        """Append a query, or insert it before all others."""
        self._queries.insert(0 if first else len(self._queries), query)
        self._on_change()

    def withdraw_at(self, conversation: OpenConversation, index: int) -> WaitingQuery | None:
        """Withdraw a query of a conversation by index, -1 for the last; None if there is none."""
        queries = self.queries_of(conversation)
        if not -1 <= index < len(queries) or not queries:
            return None
        query = queries[index]
        query.queue_index = self._queries.index(query)
        self.withdraw(query)
        return query

    def withdraw(self, query: WaitingQuery) -> bool:
        """Withdraw a query; False if it was not in the queue."""
        was_waiting = query in self._queries
        if was_waiting:
            self._queries.remove(query)
            self._on_change()
        return was_waiting

    def put_back(self, query: WaitingQuery) -> None:
        """Insert a withdrawn query at its old position."""
        self._queries.insert(query.queue_index, query)
        self._on_change()

    @property
    def next(self) -> WaitingQuery:
        """The next query."""
        return self._queries[0]

    def pop(self) -> WaitingQuery:
        """Remove and return the next query, without calling ``on_change``."""
        return self._queries.pop(0)

    def withdraw_all(self, conversation: OpenConversation | None = None) -> tuple[str, ...]:
        """Withdraw the queries of a conversation, or all that cannot load a model themselves.

        Returns:
            Their texts, without those that are stored elsewhere.
        """
        withdrawn = [
            query
            for query in self._queries
            if (
                not query.loads_own_model
                if conversation is None
                else query.conversation is conversation
            )
        ]
        self._queries = [query for query in self._queries if query not in withdrawn]
        if withdrawn:
            self._on_change()
        return tuple(query.text for query in withdrawn if query.has_unsaved_text)
