"""A list with a search box above it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker

from chatui.errors import ChatuiError
from chatui.text import one_line
from chatui.tui.editing import LineInput
from chatui.tui.widgets.key_line import KeyLine

if TYPE_CHECKING:
    from chatui.tui.turns_app import TurnsApp

Item = TypeVar("Item")


def matches(words: str, *texts: str) -> bool:
    """True if the texts contain every word of ``words``."""
    known = "\n".join(texts).casefold()
    return all(word in known for word in words.casefold().split())


@dataclass(frozen=True)
class ListRow(Generic[Item]):
    """A row of a list.

    Attributes:
        heading: shown above the row, unless the row before has the same.
    """

    item: Item
    text: Content
    heading: Content | None = None


class PickList(Generic[Item], Widget):
    """Lists items; the search box keeps the focus while the arrow keys move in the list."""

    app: TurnsApp
    SEARCH_BOX: ClassVar[type[Input]] = LineInput
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move('cursor_up')", "tui.keys.list_up", priority=True),
        Binding("down", "move('cursor_down')", "tui.keys.list_down", priority=True),
        Binding("pageup", "move('page_up')", "tui.keys.list_page_up", priority=True),
        Binding("pagedown", "move('page_down')", "tui.keys.list_page_down", priority=True),
        Binding("enter", "choose", "tui.keys.choose"),
    ]

    def __init__(self, *words: str, message: str = "") -> None:
        """
        Args:
            words: the line above, the key hints below, and the placeholder of the search box.
            message: shown below the list until the first items are listed.
        """
        super().__init__()
        self._items: list[Item | None] = []
        self._words = (*words, message)
        self._searching: Worker[None] | None = None

    def compose(self) -> ComposeResult:
        title, keys, search, message = self._words
        yield Static(Content(title), classes="title")
        yield self.SEARCH_BOX(placeholder=search)
        options = OptionList(markup=False)
        # A click must not take the focus from the search box.
        options.can_focus = False
        yield options
        yield Static(message, classes="message", markup=False)
        yield KeyLine(keys)

    def on_mount(self) -> None:
        self._searching = self.search("")

    @work(exclusive=True)
    async def search(self, words: str) -> None:
        """List the items that match, and cancel a search that is still running."""
        await self._find(words)

    async def _find(self, words: str) -> None:
        try:
            await self.find(words)
        except ChatuiError as error:
            self.show_message(str(error))

    @abstractmethod
    async def find(self, words: str) -> None:
        """List the items that match ``words``; called at the start and for each change.

        Raises:
            ChatuiError: the items cannot be read; shown below the list.
        """

    @abstractmethod
    def choose(self, item: Item) -> None:
        """Handle the choice of an item."""

    def show(
        self, rows: Iterable[ListRow[Item]], none: str, highlighted: Item | None = None
    ) -> None:
        """List ``rows`` and highlight an item, by default the first one.

        Args:
            none: the message if there are no rows.
        """
        self._items = []
        options: list[Option] = []
        heading: Content | None = None
        for row in rows:
            if row.heading is not None and row.heading != heading:
                self._items.append(None)
                options.append(Option(row.heading, disabled=True))
            heading = row.heading
            self._items.append(row.item)
            options.append(Option(row.text))
        list_ = self.query_one(OptionList)
        list_.clear_options()
        list_.add_options(options)
        if shown := self.shown:
            item = highlighted if highlighted in shown else shown[0]
            list_.highlighted = self._items.index(item)
            if item is shown[0]:
                list_.scroll_home(animate=False)
        self.show_message("" if options else none)

    @property
    def shown(self) -> list[Item]:
        """The listed items."""
        return [item for item in self._items if item is not None]

    def _item_at(self, option: int | None) -> Item | None:
        """Return the item of an option; None for a heading."""
        return None if option is None or option >= len(self._items) else self._items[option]

    def show_message(self, sentence: str) -> None:
        """Show a sentence below the list; "" hides it."""
        message = self.query_one(".message", Static)
        message.update(Content(one_line(sentence, 1000)))
        message.display = bool(sentence)

    @property
    def words(self) -> str:
        """The text of the search box."""
        return self.query_one(Input).value

    @property
    def highlighted(self) -> Item | None:
        return self._item_at(self.query_one(OptionList).highlighted)

    @on(Input.Changed)
    def _on_search_changed(self, event: Input.Changed) -> None:
        event.stop()
        self._searching = self.search(event.value)

    @on(Input.Submitted)
    async def _on_search_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        await self.finish_search()
        if self.screen.is_current:
            self.action_choose()

    @on(OptionList.OptionSelected)
    def _on_option_selected(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        item = self._item_at(event.option_index)
        if item is not None:
            self.choose(item)

    async def finish_search(self) -> None:
        """Complete a running search, so that a key acts on the list of all that was typed."""
        if self._searching is not None and not self._searching.is_finished:
            self._searching.cancel()
            await self._find(self.words)

    async def action_move(self, action: str) -> None:
        await self.finish_search()
        getattr(self.query_one(OptionList), f"action_{action}")()

    def action_choose(self) -> None:
        if self.highlighted is not None:
            self.choose(self.highlighted)
