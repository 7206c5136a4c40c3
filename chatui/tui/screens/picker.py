"""Modal lists at the side of the screen that return the chosen items."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import ClassVar, Generic, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click, Resize
from textual.message import Message
from textual.screen import ModalScreen

from chatui import hanzi
from chatui.conversation.export_formats import EXPORT_FORMATS, ExportFormat
from chatui.conversation.rounds import Conversation, Round
from chatui.locales import say
from chatui.prompting.parts import reply_for_history
from chatui.text import fit_cells, one_line
from chatui.tui.commands import Command, search
from chatui.tui.editing import LineInput
from chatui.tui.model_names import display_name
from chatui.tui.screens import LOW_BELOW_ROWS, SHORT_BELOW_ROWS
from chatui.tui.widgets.completion_list import command_row
from chatui.tui.widgets.conversation_list import ChosenConversation, ConversationList
from chatui.tui.widgets.pick_list import Item, ListRow, PickList, matches

Result = TypeVar("Result")

WORDS = ("title", "keys", "search")
"""The names of a picker's sentences, as :class:`PickList` takes them."""

FormatChoice = tuple[ExportFormat, bool]
"""A format, and whether tokens are coloured by their probability."""

MAX_DEPTH = 8
"""Depth of branches from which on they are not indented further."""

_QUERY_CELLS = 30


class Picker(PickList[Item], ModalScreen["Result | None"], Generic[Result, Item]):
    """A modal list that returns the chosen item; None if the user cancels."""

    CSS_PATH = "picker.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "tui.keys.close"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="picker"):
            yield from super().compose()

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.height < LOW_BELOW_ROWS, "-low")
        if event.size.height < LOW_BELOW_ROWS:
            # Notifications would cover the search box.
            self.app.clear_hints()
        self.set_class(event.size.height < SHORT_BELOW_ROWS, "-short")

    def on_click(self, event: Click) -> None:
        if event.widget is self:
            # A click beside the list.
            self.action_cancel()

    def action_cancel(self) -> None:
        self.dismiss(None)


class WordInput(LineInput):
    """A search box that leaves Space to the list."""

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return key != "space" and super().check_consume_key(key, character)


class OrderedPicker(Picker[tuple[Item, ...], Item]):
    """Returns several items in an order; Space or a click chooses an item, or removes it.

    Attributes:
        chosen: the chosen items, in their order.
    """

    SEARCH_BOX = WordInput
    MAX_CHOSEN: ClassVar[int | None] = None

    def __init__(self, *words: str, message: str = "") -> None:
        super().__init__(*words, message=message)
        self.chosen: list[Item] = []

    async def action_toggle_item(self) -> None:
        await self.finish_search()
        if self.highlighted is not None:
            self.choose(self.highlighted)

    def choose(self, item: Item) -> None:
        """Choose an item, or remove it from the chosen ones."""
        if item in self.chosen:
            self.chosen.remove(item)
        elif self.MAX_CHOSEN is None or len(self.chosen) < self.MAX_CHOSEN:
            self.chosen.append(item)
        self.refresh_list(item)

    @abstractmethod
    def refresh_list(self, highlighted: Item) -> None:
        """List the items with their new positions."""

    def position(self, item: Item) -> int:
        """Return the position of an item among the chosen ones, from 1; 0 if it is not chosen."""
        return self.chosen.index(item) + 1 if item in self.chosen else 0

    def title_row(self, item: Item, title: str) -> Content:
        """Return an item's title after its position."""
        position = self.position(item)
        mark = (f"{position} ● ", "$primary") if position else ("  ○ ", "dim")
        return Content.assemble(mark, (title, "bold" if position else ""))


class CommandPaletteScreen(Picker[Command, Command]):
    """Ctrl+P: finds commands by name, description, or pinyin."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+p", "cancel", "tui.keys.close"),
    ]

    def __init__(self, commands: Sequence[Command]) -> None:
        super().__init__(*(say(f"tui.palette.{part}") for part in WORDS))
        self._commands = tuple(commands)

    async def find(self, words: str) -> None:
        if words:
            await asyncio.to_thread(hanzi.prepare)
        found = search(self._commands, words)
        self.show((ListRow(each, command_row(each)) for each in found), say("tui.palette.none"))

    def choose(self, item: Command) -> None:
        self.dismiss(item)


class ExportFormatPicker(Picker[FormatChoice, FormatChoice]):
    """Lists the export formats, with and without probabilities."""

    def __init__(self, title: str) -> None:
        super().__init__(title, say("export.keys"), say("export.search"))

    async def find(self, words: str) -> None:
        rows: list[ListRow[FormatChoice]] = []
        for format in EXPORT_FORMATS:
            name = say(f"export.format.{format.name}")
            names = [name]
            if format.shows_probabilities:
                names.append(say("export.with_probabilities", form=name))
            for shown in names:
                if matches(words, format.name, format.suffix, shown):
                    text = Content.assemble(shown, (f"  {format.suffix}", "$foreground-muted"))
                    rows.append(ListRow((format, shown is not name), text))
        self.show(rows, say("export.none"))

    def choose(self, item: FormatChoice) -> None:
        self.dismiss(item)


class ConversationPicker(ConversationList, Picker[ChosenConversation, Conversation]):
    """Ctrl+B: lists conversations; returns the chosen one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+b", "cancel", "tui.keys.close"),
    ]

    @on(ConversationList.Deleted)
    @on(ConversationList.Renamed)
    def _tell_main_screen(self, event: Message) -> None:
        self.app.screen_stack[0].post_message(event)

    def choose(self, item: Conversation) -> None:
        self.dismiss(self.choice(item))


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

    def __init__(self, conversation_id: int, path: Collection[int]) -> None:
        """
        Args:
            path: ids of the shown rounds, in order.
        """
        super().__init__(*(say(f"overview.tree.{part}") for part in WORDS))
        self._conversation_id = conversation_id
        self._path = path
        self._tree: list[tuple[Round, str]] | None = None

    async def find(self, words: str) -> None:
        """List the rounds whose query, reply or model matches."""
        if self._tree is None:
            rounds = await asyncio.to_thread(self.app.store.all_rounds, self._conversation_id)
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
