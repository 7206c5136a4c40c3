"""F2: the picker of the model for the next round."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType

from chatui.backends.servers import entries as server_entries
from chatui.catalog import ModelEntry, list_models
from chatui.catalog.schema import is_hub_id
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.settings import Settings
from chatui.tui.screens.model_rows import (
    ModelRows,
    grouped_rows,
    match_rank,
    memory_words,
    model_row,
)
from chatui.tui.screens.picker import Picker
from chatui.tui.widgets.fetch_bar import Download, FetchBar
from chatui.tui.widgets.pick_list import matches


class ModelPicker(Picker[str | ModelSpec | Download | None, ModelEntry]):
    """Lists the models of the catalog and of servers, usable ones first.

    Returns a reference, the spec of the start, or the confirmed download of a model.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+g", "stop_fetching", "tui.keys.stop_download"),
        Binding("f2", "cancel", "tui.keys.close"),
    ]

    def __init__(
        self,
        settings: Settings,
        current: ModelSpec,
        first: ModelSpec,
        fetch_bar: FetchBar | None = None,
    ) -> None:
        """
        Args:
            current: the current model.
            first: the model that the app was started with, which may be in no list.
            fetch_bar: shows the running download.
        """
        super().__init__(
            say("tui.models.title"),
            say("tui.models.keys"),
            say("tui.models.search"),
            say("tui.models.looking"),
        )
        self._settings = settings
        self._current = (current.name, current.path)
        self._first = first
        self._fetch_bar = fetch_bar
        self._entries: tuple[ModelEntry, ...] | None = None
        self._served: tuple[ModelEntry, ...] = ()
        self._recent: tuple[str, ...] = ()
        self._proposed: ModelEntry | None = None

    def on_mount(self) -> None:
        self._find_served()

    async def find(self, words: str) -> None:
        """List the models that match; the first call reads the catalog and the disk in a thread."""
        if self._entries is None:
            try:
                found = await asyncio.to_thread(list_models, self._settings)
                self._recent = await asyncio.to_thread(self.app.store.recent_models)
            except ChatuiError as error:
                self.show_message(str(error))
                return
            self._entries = found
        self._list(words)

    @work(group="served")
    async def _find_served(self) -> None:
        """Add the models of servers to the list that is already shown; they may take seconds."""
        self._served = await server_entries(self._settings)
        if self._served and self._entries is not None:
            moved = self.highlighted is not self._proposed
            self._list(self.words, self.highlighted if moved else None)

    def _list(self, words: str, pointed_at: ModelEntry | None = None) -> None:
        """List the models that match: the best matches first, then usable ones.

        Args:
            pointed_at: the entry that the user moved to, which stays highlighted.
        """
        everything = [*self._served, *(self._entries or ())]
        references = {entry.reference for entry in everything}
        if not references & {self._first.name, self._first.path}:
            name = self._first.name
            everything.insert(0, ModelEntry(name, "folder", name, say("tui.models.opened")))
        if is_hub_id(words.strip()) and words.strip() not in references:
            everything.append(_on_hub(words.strip()))
        found = [
            each
            for each in everything
            if matches(
                words, each.reference, each.title, each.description, each.family, each.format
            )
        ]
        if words.strip():
            found.sort(key=lambda entry: (match_rank(entry, words), not entry.usable))
            rows = [
                model_row(one, one.reference in self._current, self._memory(one)) for one in found
            ]
            listed = ModelRows(found, rows)
        else:
            listed = grouped_rows(found, self._current, self._recent, self._memory)
        here = [entry.reference in self._current for entry in listed.entries]
        index = here.index(True) if True in here and not words.strip() else 0
        self._proposed = listed.entries[index] if found else None
        if pointed_at is not None and pointed_at in found:
            index = listed.entries.index(pointed_at)
        self.show(listed.entries, listed.rows, index, say("tui.models.none"), listed.headings)

    def _memory(self, entry: ModelEntry) -> str:
        asked = None if self._settings.context == "auto" else self._settings.context
        return memory_words(entry, self.app.turns.loaded, asked, self._settings.weights)

    def action_stop_fetching(self) -> None:
        """Stop the download, so that another can begin."""
        if self._fetch_bar and self._fetch_bar.running:
            self._fetch_bar.stop_or_choose()
            self.show_message("")

    def choose(self, item: ModelEntry) -> None:
        if item.usable:
            # The model of the start keeps its options: adapters, format, device.
            is_first = item.reference in (self._first.name, self._first.path)
            self.dismiss(self._first if is_first else item.reference)
        elif item.lacking:
            self._offer_to_fetch(item)
        else:
            self.app.tell_user(item.missing, "warning")

    @work(exclusive=True, group="offer")
    async def _offer_to_fetch(self, item: ModelEntry) -> None:
        from chatui.tui.screens.questions import offer_to_fetch

        download = await offer_to_fetch(self.app, self._fetch_bar, item, self.show_message)
        if download is not None:
            self.dismiss(download)


def _on_hub(hub_id: str) -> ModelEntry:
    """Return an entry for a repository id that the user typed."""
    return ModelEntry(
        hub_id, "hub", hub_id, say("tui.models.from_hub"), usable=False, lacking=(hub_id,)
    )
