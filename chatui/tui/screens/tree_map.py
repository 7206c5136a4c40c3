"""Alt+T: the conversation as a tree with a branch for each version of a round."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content

from chatui.conversation.rounds import Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting.parts import reply_for_history
from chatui.text import fit_cells, one_line
from chatui.tui.model_names import display_name
from chatui.tui.screens.picker import Picker
from chatui.tui.widgets.pick_list import matches

MAX_DEPTH = 8
"""Depth of branches from which on they are not indented further."""

_QUERY_CELLS = 30


@dataclass(frozen=True)
class Node:
    """A round in the tree.

    Attributes:
        prefix: the lines of the tree before it, such as "│ ├ ".
    """

    round: Round
    prefix: str


def tree_nodes(rounds: Sequence[Round]) -> list[Node]:
    """Return the tree of a conversation, from top to bottom.

    A round follows below its parent without indent; only versions of a round are indented.

    Args:
        rounds: all rounds, each parent before its children.
    """
    children: dict[int | None, list[Round]] = {}
    for each in rounds:
        children.setdefault(each.parent_id, []).append(each)
    nodes: list[Node] = []
    waiting = _branches(children.get(None, []), "")
    while waiting:
        node, below = waiting.pop()
        nodes.append(node)
        waiting += _branches(children.get(node.round.id, []), below)
    return nodes


def _branches(versions: list[Round], above: str) -> list[tuple[Node, str]]:
    """Return the versions of a round, last one first, each with the prefix of its children."""
    if len(versions) < 2 or len(above) >= 2 * MAX_DEPTH:
        return [(Node(each, above), above) for each in reversed(versions)]
    *others, last = versions
    branches = [(Node(each, above + "├ "), above + "│ ") for each in reversed(others)]
    return [(Node(last, above + "└ "), above + "  "), *branches]


def node_row(node: Node, is_on_path: bool) -> Content:
    """Return one line: the place in the tree, the query, and the beginning of the reply."""
    round_ = node.round
    query = fit_cells(one_line(round_.query, 80), _QUERY_CELLS)
    reply = one_line(reply_for_history(round_.reply), 80)
    if round_.state == "streaming":
        reply = say("tui.conversations.replying")
    return Content.assemble(
        (node.prefix, "$foreground-muted"),
        ("● " if is_on_path else "○ ", "$accent" if is_on_path else "$foreground-muted"),
        (query, "bold" if is_on_path else ""),
        (f"  {reply}", "$foreground-muted"),
    )


class TreePicker(Picker[Round | None, Node]):
    """Lists all rounds of a conversation; returns the round to show."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("alt+t", "cancel", "tui.keys.close"),
    ]

    def __init__(self, store: Store, conversation_id: int, path: Collection[int]) -> None:
        """
        Args:
            path: ids of the shown rounds, in order.
        """
        super().__init__(
            say("overview.tree.title"),
            say("overview.tree.keys"),
            say("overview.tree.search"),
        )
        self._store = store
        self._conversation_id = conversation_id
        self._path = list(path)
        self._tree: list[Node] | None = None

    async def find(self, words: str) -> None:
        """List the rounds whose query, reply or model matches."""
        if self._tree is None:
            try:
                rounds = await asyncio.to_thread(self._store.all_rounds, self._conversation_id)
            except ChatuiError as error:
                self.show_message(str(error))
                return
            self._tree = tree_nodes(rounds)
        found = [
            each
            for each in self._tree
            if matches(words, each.round.query, each.round.reply, display_name(each.round.model))
        ]
        ids = [each.round.id for each in found]
        on_path = [each for each in reversed(self._path) if each in ids]
        index = ids.index(on_path[0]) if on_path else 0
        rows = [node_row(each, each.round.id in self._path) for each in found]
        self.show(found, rows, index, say("tui.palette.none"))

    def choose(self, item: Node) -> None:
        self.dismiss(item.round)
