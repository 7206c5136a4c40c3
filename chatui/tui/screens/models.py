"""F2: which model answers the next round."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content

from chatui.backends.servers import entries as server_entries
from chatui.catalog import Entry, entries
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.settings import Settings
from chatui.tui.downloads import Download, can_be_fetched, prepare
from chatui.tui.plain_text import plain_line, plain_text
from chatui.tui.screens.picker import Picker


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


class ModelScreen(Picker[str | Download | None, Entry]):
    """Lists what the catalog knows, usable models first.

    Gives the chosen reference, or a download that the user wants of a model that is not here.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("f2", "cancel", "tui.keys.close")]

    def __init__(self, settings: Settings, current: str, fetching: str = "") -> None:
        """
        Args:
            current: the reference of the model that answers now.
            fetching: the model that is being fetched.
        """
        super().__init__(
            say("tui.models.title"),
            say("tui.models.keys"),
            say("tui.models.search"),
            say("tui.models.looking"),
        )
        self._settings = settings
        self._current = current
        self._fetching = fetching
        self._entries: tuple[Entry, ...] | None = None
        self._served: tuple[Entry, ...] | None = None

    async def find(self, words: str) -> None:
        """Show what matches; the first time the catalog and the disk are read, aside."""
        if self._entries is None:
            try:
                found = await asyncio.to_thread(entries, self._settings)
            except ChatuiError as error:
                self.say(str(error))
                return
            self._entries = tuple(sorted(found, key=lambda entry: not entry.usable))
        self._list(words)
        if self._served is None:
            # A server far away may take seconds; the list is there before.
            self._served = await server_entries(self._settings)
            if self._served:
                self._list(words)

    def _list(self, words: str) -> None:
        """Show the models that match: those of servers, then the catalog's."""
        everything = (*(self._served or ()), *(self._entries or ()))
        found = tuple(entry for entry in everything if matches(entry, words))
        names = [entry.reference for entry in found]
        index = names.index(self._current) if self._current in names else 0
        rows = [row(entry, entry.reference == self._current) for entry in found]
        self.show(found, rows, index, say("tui.models.none"))

    def choose(self, item: Entry) -> None:
        if item.usable:
            self.dismiss(item.reference)
        elif can_be_fetched(item, self._settings):
            self._offer_to_fetch(item)
        else:
            self.app.notify(plain_line(item.missing, 1000), severity="warning", markup=False)

    @work(exclusive=True, group="offer")
    async def _offer_to_fetch(self, item: Entry) -> None:
        from chatui.tui.screens.questions import YesNoQuestion

        if self._fetching:
            self.say(say("tui.fetch.one_at_a_time", name=plain_line(self._fetching)))
            return
        self.say(say("tui.fetch.asking", name=plain_line(item.title)))
        try:
            download = await prepare(item.reference, self._settings)
        except ChatuiError as error:
            self.say(str(error))
            return
        self.say("")
        if await self.app.push_screen_wait(YesNoQuestion(plain_text(download.question))):
            self.dismiss(download)
        else:
            await download.events.aclose()
