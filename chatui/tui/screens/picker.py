"""Modal lists at the side of the screen that return the chosen items."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Generic, TypeVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click, Resize
from textual.screen import ModalScreen, ScreenResultType

from chatui.tui.editing import LineInput
from chatui.tui.screens import LOW_BELOW_ROWS, SHORT_BELOW_ROWS
from chatui.tui.widgets.pick_list import Item, PickList

Result = TypeVar("Result")


class Picker(PickList[Item], ModalScreen[ScreenResultType], Generic[ScreenResultType, Item]):
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


class OrderedPicker(Picker[tuple[Result, ...] | None, Item], Generic[Result, Item]):
    """Returns several items in an order; Space or a click chooses an item, or removes it.

    Attributes:
        chosen: the chosen items, in their order.
    """

    SEARCH_BOX = WordInput
    MAX_CHOSEN: ClassVar[int | None] = None

    def __init__(self, title: str, keys: str, search: str, message: str = "") -> None:
        super().__init__(title, keys, search, message)
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
