"""A list with a search box over it."""

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
    """Whether every word typed stands somewhere in the texts."""
    known = "\n".join(texts).casefold()
    return all(word in known for word in words.casefold().split())


class PickList(Generic[Item], Widget):
    """The search box has the focus; the arrow keys move in the list all the same.

    Attributes:
        shown: the items in the list, in its order.
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
            title, keys: above and below.
            search: the empty search box's words.
            message: below the list until there is one.
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
        # After a click what is typed still goes to the search box.
        options.can_focus = False
        yield options
        yield Static(message, classes="message", markup=False)
        yield KeyLine(keys)

    def on_mount(self) -> None:
        self._searching = self.search("")

    @work(exclusive=True)
    async def search(self, words: str) -> None:
        """Show what matches ``words``; a search that is overtaken by the next key is dropped."""
        await self.find(words)

    async def find(self, words: str) -> None:
        """Show what matches ``words``; called at the start and with each change of them."""
        raise NotImplementedError

    def choose(self, item: Item) -> None:
        """The user wants this one."""
        raise NotImplementedError

    def show(
        self,
        items: Sequence[Item],
        rows: Sequence[Content],
        index: int,
        none: str,
        headings: Mapping[int, Content] | None = None,
    ) -> None:
        """List ``items``, each as its row, with the one at ``index`` highlighted.

        Args:
            none: what to say if there are none.
            headings: by the index of the item that each stands above.
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
        """The item of a row; None for a heading."""
        item = None if option is None or option >= len(self._items) else self._items[option]
        return None if item is None else self.shown[item]

    def show_message(self, sentence: str) -> None:
        """Show a sentence below the list."""
        message = self.query_one(".message", Static)
        message.update(Content(one_line(sentence, 1000)))
        message.display = bool(sentence)

    @property
    def words(self) -> str:
        """What is searched for."""
        return self.query_one(Input).value

    @property
    def highlighted(self) -> Item | None:
        return self._item_at(self.query_one(OptionList).highlighted)

    @on(Input.Changed)
    def _search(self, event: Input.Changed) -> None:
        event.stop()
        self._searching = self.search(event.value)

    @on(Input.Submitted)
    async def _submit(self, event: Input.Submitted) -> None:
        event.stop()
        await self.finish_search()
        if self.screen.is_current:
            self.action_choose()

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        item = self._item_at(event.option_index)
        if item is not None:
            self.choose(item)

    async def finish_search(self) -> None:
        """Have the list be what matches all that was typed, however fast the next key came."""
        if self._searching is not None and not self._searching.is_finished:
            self._searching.cancel()
            await self.find(self.words)

    async def action_move(self, action: str) -> None:
        await self.finish_search()
        getattr(self.query_one(OptionList), f"action_{action}")()

    def action_choose(self) -> None:
        if self.highlighted is not None:
            self.choose(self.highlighted)
