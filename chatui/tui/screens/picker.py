"""A list at the side of the screen that gives what is chosen from it."""

from __future__ import annotations

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
    """A list over the conversation, until something is chosen."""

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
            # It would cover what is typed to search.
            self.app.clear_hints()
        self.set_class(event.size.height < SHORT_BELOW_ROWS, "-short")

    def on_click(self, event: Click) -> None:
        if event.widget is self:
            # Beside the list.
            self.action_cancel()

    def action_cancel(self) -> None:
        self.dismiss(None)


class WordInput(LineInput):
    """A search box that leaves the space bar to the list."""

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return key != "space" and super().check_consume_key(key, character)


class OrderedPicker(Picker[tuple[Result, ...] | None, Item], Generic[Result, Item]):
    """A list of which several are chosen, in an order; the space bar chooses as a click does."""

    SEARCH_BOX = WordInput

    async def action_switch(self) -> None:
        await self.finish_search()
        if self.highlighted is not None:
            self.choose(self.highlighted)


def position_mark(place: int) -> Content:
    """What stands before a row.

    Args:
        place: from 1 on among the chosen; 0 if it is not chosen.
    """
    return Content.styled(f"{place} ● ", "$primary") if place else Content.styled("  ○ ", "dim")
