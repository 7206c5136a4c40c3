"""Modal lists at the side of the screen that return the chosen items."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
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
from chatui.conversation.rounds import Conversation
from chatui.locales import say
from chatui.tui.commands import Command, search
from chatui.tui.editing import LineInput
from chatui.tui.screens import LOW_BELOW_ROWS, SHORT_BELOW_ROWS
from chatui.tui.widgets.completion_list import command_row
from chatui.tui.widgets.conversation_list import ChosenConversation, ConversationList
from chatui.tui.widgets.pick_list import Item, ListRow, PickList, matches

Result = TypeVar("Result")

WORDS = ("title", "keys", "search")
"""The names of a picker's sentences, as :class:`PickList` takes them."""

FormatChoice = tuple[ExportFormat, bool]
"""A format, and whether tokens are coloured by their probability."""


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
