"""Alt+T: the conversation as a tree with a branch for each version of a round."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content

from chatui.conversation.rounds import Round
from chatui.conversation.store import Store
from chatui.locales import say
from chatui.prompting.parts import reply_for_history
from chatui.text import fit_cells, one_line
from chatui.tui.model_names import display_name
from chatui.tui.screens.picker import WORDS, Picker
from chatui.tui.widgets.pick_list import ListRow, matches

MAX_DEPTH = 8
"""Depth of branches from which on they are not indented further."""

_QUERY_CELLS = 30


def tree_rows(rounds: Sequence[Round]) -> list[tuple[Round, str]]:
    """Return the tree of a conversation, from top to bottom: rounds, each with its prefix.

    A prefix is the lines of the tree before a round, such as "│ ├ ". A round follows below its
    parent without indent; only versions of a round are indented.

    Args:
        rounds: all rounds, each parent before its children.
    """
    children: dict[int | None, list[Round]] = {}
    for each in rounds:
        children.setdefault(each.parent_id, []).append(each)
    rows: list[tuple[Round, str]] = []
    waiting = _branches(children.get(None, []), "")
    while waiting:
        round_, prefix, below = waiting.pop()
        rows.append((round_, prefix))
        waiting += _branches(children.get(round_.id, []), below)
    return rows


def _branches(versions: list[Round], above: str) -> list[tuple[Round, str, str]]:
    """Return the versions of a round, last one first, with their and their children's prefix."""
    if len(versions) < 2 or len(above) >= 2 * MAX_DEPTH:
        return [(each, above, above) for each in reversed(versions)]
    *others, last = versions
    branches = [(each, above + "├ ", above + "│ ") for each in reversed(others)]
    return [(last, above + "└ ", above + "  "), *branches]


def round_row(round_: Round, prefix: str, is_on_path: bool) -> Content:
    """Return one line: the place in the tree, the query, and the beginning of the reply."""
    query = fit_cells(one_line(round_.query, 80), _QUERY_CELLS)
    reply = one_line(reply_for_history(round_.reply), 80)
    if round_.state == "streaming":
        reply = say("tui.conversations.replying")
    return Content.assemble(
        (prefix, "$foreground-muted"),
        ("● " if is_on_path else "○ ", "$accent" if is_on_path else "$foreground-muted"),
        (query, "bold" if is_on_path else ""),
        (f"  {reply}", "$foreground-muted"),
    )


class TreePicker(Picker[Round, Round]):
    """Lists all rounds of a conversation; returns the round to show."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("alt+t", "cancel", "tui.keys.close"),
    ]

    def __init__(self, store: Store, conversation_id: int, path: Collection[int]) -> None:
        """
        Args:
            path: ids of the shown rounds, in order.
        """
        super().__init__(*(say(f"overview.tree.{part}") for part in WORDS))
        self._store = store
        self._conversation_id = conversation_id
        self._path = path
        self._tree: list[tuple[Round, str]] | None = None

    async def find(self, words: str) -> None:
        """List the rounds whose query, reply or model matches."""
        if self._tree is None:
            rounds = await asyncio.to_thread(self._store.all_rounds, self._conversation_id)
            self._tree = tree_rows(rounds)
        rows = [
            ListRow(round_, round_row(round_, prefix, round_.id in self._path))
            for round_, prefix in self._tree
            if matches(words, round_.query, round_.reply, display_name(round_.model))
        ]
        on_path = [row.item for row in rows if row.item.id in self._path]
        self.show(rows, say("tui.palette.none"), on_path[-1] if on_path else None)

    def choose(self, item: Round) -> None:
        self.dismiss(item)
