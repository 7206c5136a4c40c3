"""A list with a search box above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker

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


class PickList(Generic[Item], Widget):
    """Lists items; the search box keeps the focus while the arrow keys move in the list.

    Attributes:
        shown: the listed items.
    """

    app: TurnsApp
    SEARCH_BOX: ClassVar[type[Input]] = LineInput
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move('cursor_up')", "tui.keys.list_up", priority=True),
        Binding("down", "move('cursor_down')", "tui.keys.list_down", priority=True),
        Binding("pageup", "move('page_up')", "tui.keys.list_page_up", priority=True),
        Binding("pagedown", "move('page_down')", "tui.keys.list_page_down", priority=True),
        Binding("enter", "choose", "tui.keys.choose"),
    ]

    def __init__(self, title: str, keys: str, search: str, message: str = "") -> None:
        """
        Args:
            title, keys: the line above and the key hints below.
            search: the placeholder of the search box.
            message: shown below the list until the first items are listed.
        """
        super().__init__()
        self.shown: list[Item] = []
        self._items: list[int | None] = []
        self._words = (title, keys, search, message)
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
        await self.find(words)

    async def find(self, words: str) -> None:
        """List the items that match ``words``; called at the start and for each change."""
        raise NotImplementedError

    def choose(self, item: Item) -> None:
        """Handle the choice of an item."""
        raise NotImplementedError

    def show(
        self,
        items: Sequence[Item],
        rows: Sequence[Content],
        index: int,
        none: str,
        headings: Mapping[int, Content] | None = None,
    ) -> None:
        """List ``items`` as ``rows`` and highlight the item at ``index``.

        Args:
            none: the message if there are no items.
            headings: by the index of the item below each.
        """
        self.shown = list(items)
        self._items = []
        shown: list[Option] = []
        for item, row in enumerate(rows):
            if headings and item in headings:
                self._items.append(None)
                shown.append(Option(headings[item], disabled=True))
            self._items.append(item)
            shown.append(Option(row))
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(shown)
        if items:
            options.highlighted = self._items.index(index)
            if index == 0:
                options.scroll_home(animate=False)
        self.show_message("" if items else none)

    def _item_at(self, option: int | None) -> Item | None:
        """Return the item of an option; None for a heading."""
        item = None if option is None or option >= len(self._items) else self._items[option]
        return None if item is None else self.shown[item]

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
            await self.find(self.words)

    async def action_move(self, action: str) -> None:
        await self.finish_search()
        getattr(self.query_one(OptionList), f"action_{action}")()

    def action_choose(self) -> None:
        if self.highlighted is not None:
            self.choose(self.highlighted)
