"""F2: which model answers the next round."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from chatui.backends.servers import entries as server_entries
from chatui.catalog import Entry, entries
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.settings import Settings
from chatui.tui.plain_text import plain_line


def matches(entry: Entry, words: str) -> bool:
    """Whether every word typed occurs somewhere in what is known of a model."""
    known = f"{entry.reference} {entry.title} {entry.description} {entry.family} {entry.format}"
    return all(word in known.casefold() for word in words.casefold().split())


def row(entry: Entry, is_current: bool) -> Content:
    """A model's two lines: what it is called, and what it is."""
    name = Content.styled(plain_line(entry.title), "bold" if entry.usable else "dim")
    parts = [Content.styled("● " if is_current else "  ", "$primary"), name]
    if entry.reference != entry.title:
        parts.append(Content.styled(f"  {plain_line(entry.reference)}", "$foreground-muted"))
    if not entry.usable:
        parts.append(Content.styled(f"  {say('tui.models.missing')}", "$warning 80%"))
    if entry.description:
        parts.append(Content.styled(f"\n  {plain_line(entry.description)}", "$foreground-muted"))
    return Content.assemble(*parts)


class ModelScreen(ModalScreen[str | None]):
    """Lists what the catalog knows, usable models first; gives the chosen reference."""

    CSS_PATH = "picker.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move('cursor_up')", "tui.keys.list_up", priority=True),
        Binding("down", "move('cursor_down')", "tui.keys.list_down", priority=True),
        Binding("pageup", "move('page_up')", "tui.keys.list_page_up", priority=True),
        Binding("pagedown", "move('page_down')", "tui.keys.list_page_down", priority=True),
        Binding("enter", "choose", "tui.keys.choose_model", priority=True),
        Binding("escape,f2", "cancel", "tui.keys.close"),
    ]

    def __init__(self, settings: Settings, current: str) -> None:
        super().__init__()
        self._settings = settings
        self._current = current
        self._entries: tuple[Entry, ...] = ()
        self._shown: list[Entry] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="picker") as box:
            box.border_title = say("tui.models.title")
            box.border_subtitle = say("tui.models.keys")
            yield Input(placeholder=say("tui.models.search"))
            yield OptionList(markup=False)
            yield Static(say("tui.models.looking"), classes="empty", markup=False)

    def on_mount(self) -> None:
        self._look()

    @work
    async def _look(self) -> None:
        """Read the catalog and the disk aside, for that may take a moment."""
        try:
            found = await asyncio.to_thread(entries, self._settings)
        except ChatuiError as error:
            self.query_one(".empty", Static).update(Content(plain_line(str(error), 1000)))
            return
        self._entries = tuple(sorted(found, key=lambda entry: not entry.usable))
        self._show(self.query_one(Input).value)
        served = await server_entries(self._settings)
        if served:
            self._entries = (*served, *self._entries)
            self._show(self.query_one(Input).value)

    @on(Input.Changed)
    def _search(self, event: Input.Changed) -> None:
        if self._entries:
            self._show(event.value)

    def _show(self, words: str) -> None:
        self._shown = [entry for entry in self._entries if matches(entry, words)]
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(
            Option(row(entry, entry.reference == self._current)) for entry in self._shown
        )
        names = [entry.reference for entry in self._shown]
        if names:
            options.highlighted = names.index(self._current) if self._current in names else 0
        empty = self.query_one(".empty", Static)
        empty.update(Content(say("tui.models.none")))
        empty.display = not names

    def action_move(self, action: str) -> None:
        getattr(self.query_one(OptionList), f"action_{action}")()

    def action_choose(self) -> None:
        highlighted = self.query_one(OptionList).highlighted
        if highlighted is not None:
            self._choose(highlighted)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self._choose(event.option_index)

    def _choose(self, index: int) -> None:
        entry = self._shown[index]
        if entry.usable:
            self.dismiss(entry.reference)
        else:
            self.app.notify(plain_line(entry.missing, 1000), severity="warning", markup=False)

    def action_cancel(self) -> None:
        self.dismiss(None)
