"""A list at the side of the screen that gives what is chosen from it."""

from __future__ import annotations

from typing import ClassVar, Generic

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Click, Resize
from textual.screen import ModalScreen, ScreenResultType

from chatui.tui.screens import LOW_ROWS, TALL_ROWS
from chatui.tui.widgets.pick_list import Item, PickList


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
        self.set_class(event.size.height < LOW_ROWS, "-low")
        self.set_class(event.size.height < TALL_ROWS, "-short")

    def on_click(self, event: Click) -> None:
        if event.widget is self:
            # Beside the list.
            self.action_cancel()

    def action_cancel(self) -> None:
        self.dismiss(None)
