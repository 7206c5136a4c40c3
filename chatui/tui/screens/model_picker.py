"""F2: the picker of the model for the next round: here, on servers, and to download, by system."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import ClassVar

import psutil
from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content

from chatui.backends.servers import entries as server_entries
from chatui.catalog import ModelEntry, list_models
from chatui.catalog.schema import is_hub_id
from chatui.locales import say
from chatui.messages import Loaded, ModelSpec
from chatui.prompting.format import CHAT_TEMPLATE
from chatui.readable import size
from chatui.text import one_line
from chatui.tui.screens.picker import WORDS, Picker
from chatui.tui.screens.questions import offer_to_fetch
from chatui.tui.widgets.fetch_bar import Download, FetchBar
from chatui.tui.widgets.pick_list import ListRow, matches

_MUTED = "$foreground-muted"


class ModelPicker(Picker[str | ModelSpec | Download, ModelEntry]):
    """Lists the models of the catalog and of servers, usable ones first.

    Returns a reference, the spec of the start, or the confirmed download of a model.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+g", "stop_fetching", "tui.keys.stop_download"),
        Binding("f2", "cancel", "tui.keys.close"),
    ]

    def __init__(self, fetch_bar: FetchBar) -> None:
        """
        Args:
            fetch_bar: shows the running download.
        """
        words = (say(f"tui.models.{part}") for part in WORDS)
        super().__init__(*words, message=say("tui.models.looking"))
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
            found = await asyncio.to_thread(list_models, self.app.settings)
            self._recent = await asyncio.to_thread(self.app.store.recent_models)
            self._entries = found
        self._list(words)

    @work(group="served")
    async def _find_served(self) -> None:
        """Add the models of servers to the list that is already shown; they may take seconds."""
        self._served = await server_entries(self.app.settings)
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
        # The model of the start may be in no list.
        first = self.app.turns.start_spec
        if not references & {first.name, first.path}:
            name = first.name
            everything.insert(0, ModelEntry(name, "folder", name, say("tui.models.opened")))
        if is_hub_id(hub_id := words.strip()) and hub_id not in references:
            about = say("tui.models.from_hub")
            everything.append(
                ModelEntry(hub_id, "hub", hub_id, about, usable=False, lacking=(hub_id,))
            )
        found = [
            each
            for each in everything
            if matches(
                words, each.reference, each.title, each.description, each.family, each.format
            )
        ]
        if words.strip():
            found.sort(key=lambda entry: (match_rank(entry, words), not entry.usable))
            rows = [ListRow(each, self._row(each)) for each in found]
        else:
            rows = [
                ListRow(each, variant_row(each) if is_variant else self._row(each), heading)
                for each, heading, is_variant in grouped(found, self._recent)
            ]
        here = [row.item for row in rows if self._is_current(row.item)]
        self._proposed = next(iter([] if words.strip() else here), rows[0].item if rows else None)
        shown = pointed_at if pointed_at in found else self._proposed
        self.show(rows, say("tui.models.none"), shown)

    def _is_current(self, entry: ModelEntry) -> bool:
        spec = self.app.turns.spec
        return entry.reference in (spec.name, spec.path)

    def _row(self, entry: ModelEntry) -> Content:
        settings = self.app.settings
        asked = None if settings.context == "auto" else settings.context
        memory = memory_words(entry, self.app.turns.loaded, asked, settings.weights)
        return model_row(entry, self._is_current(entry), memory)

    def action_stop_fetching(self) -> None:
        """Stop the download, so that another can begin."""
        if self._fetch_bar.running:
            self._fetch_bar.stop_or_choose()
            self.show_message("")

    def choose(self, item: ModelEntry) -> None:
        if item.usable:
            # The model of the start keeps its options: adapters, format, device.
            first = self.app.turns.start_spec
            is_first = item.reference in (first.name, first.path)
            self.dismiss(first if is_first else item.reference)
        elif item.lacking:
            self._offer_to_fetch(item)
        else:
            self.app.tell_user(item.missing, "warning")

    @work(exclusive=True, group="offer")
    async def _offer_to_fetch(self, item: ModelEntry) -> None:
        download = await offer_to_fetch(self.app, self._fetch_bar, item, self.show_message)
        if download is not None:
            self.dismiss(download)


def match_rank(entry: ModelEntry, words: str) -> int:
    """Return 0 if a name equals ``words``, 1 if it starts with, 2 if it contains them, else 3."""
    typed = words.strip().casefold()
    names = [name.casefold() for name in (entry.reference, entry.title)]
    if typed in names:
        return 0
    if any(name.startswith(typed) for name in names):
        return 1
    return 2 if any(typed in name for name in names) else 3


def memory_words(
    entry: ModelEntry, loaded: Loaded | None, asked: int | None, weights: str = "auto"
) -> str:
    """Return the memory and context window that a usable model would have on the current device.

    Args:
        loaded: the current model; None if none is loaded on this machine.
        asked: the context window of the settings, in tokens; None for as many as fit.
        weights: the setting for quantised weights.
    """
    if not entry.cache.numbers(1) or loaded is None or not loaded.free_bytes:
        return ""
    if loaded.skipped_gpu and not entry.small:
        # It would run on the GPU, whose free memory is not known yet.
        return ""
    device = "cpu" if entry.small else loaded.device
    found = entry.fit(device, loaded.free_bytes, asked, weights)
    if found is None:
        return say("tui.models.does_not_fit")
    words = say("tui.models.memory", size=size(found.total), window=found.window)
    return f"int{found.bits}, {words}" if found.bits else words


def model_row(entry: ModelEntry, is_current: bool, memory: str = "") -> Content:
    """Return two lines: a model's name, and its details."""
    name = Content.styled(one_line(entry.title), "bold" if entry.usable else "dim")
    parts = [Content.styled("● " if is_current else "  ", "$primary"), name]
    if entry.reference != entry.title:
        parts.append(Content.styled(f"  {one_line(entry.reference)}", _MUTED))
    # The problem of a server is in its description.
    if not entry.usable and entry.kind != "server":
        why = "missing" if entry.lacking else "adapter" if entry.kind == "adapter" else "unusable"
        parts.append(Content.styled(f"  {say(f'tui.models.{why}')}", "$warning 80%"))
    disk = size(entry.disk_bytes) if entry.disk_bytes else ""
    facts = (entry.family, disk, memory, entry.description)
    known = " · ".join(one_line(fact) for fact in facts if fact)
    if known:
        parts.append(Content.styled(f"\n  {known}", _MUTED))
    return Content.assemble(*parts)


def variant_row(entry: ModelEntry) -> Content:
    """Return one line: the size on disk, the name, and why the model cannot be used.

    The size comes first because a narrow screen cuts the end of the line.
    """
    why = ""
    if entry.kind == "adapter":
        why = "adapter"
    elif entry.lacking and entry.memory_bytes > psutil.virtual_memory().total:
        why = "too_large"
    disk = size(entry.disk_bytes) if entry.disk_bytes else ""
    return Content.assemble(
        (f"{disk:>10}  " if disk else "    ", _MUTED),
        (one_line(entry.reference), _MUTED if why or not entry.lacking else ""),
        (f"  {say(f'tui.models.{why}')}" if why else "", "$warning 80%"),
    )


def grouped(
    entries: Sequence[ModelEntry], recent: Sequence[str]
) -> Iterator[tuple[ModelEntry, Content, bool]]:
    """Yield the models in groups: (entry, heading, whether it is one of a system's variants).

    Args:
        recent: names of models, most recently used first.
    """
    place = {name: index for index, name in enumerate(recent)}
    here = [entry for entry in entries if entry.usable and entry.kind != "server"]
    here.sort(key=lambda entry: place.get(entry.reference, len(place)))
    servers = [entry for entry in entries if entry.kind == "server"]
    for name, group in (("here", here), ("servers", servers)):
        for entry in group:
            yield entry, _title(name), False
    absent = [entry for entry in entries if not entry.usable and entry.kind != "server"]
    for name in ("to_fetch", "rest"):
        systems: dict[str, list[ModelEntry]] = {}
        for entry in absent:
            if bool(entry.lacking) is (name == "to_fetch"):
                systems.setdefault(entry.system or entry.title, []).append(entry)
        heading = _title(name) + "\n"
        for system, variants in sorted(systems.items(), key=lambda item: _system_order(item[1])):
            variants.sort(key=lambda entry: entry.memory_bytes)
            described = f"  {one_line(variants[0].description)}".rstrip()
            heading += Content.assemble(("  " + one_line(system), "bold"), (described, _MUTED))
            for entry in variants:
                yield entry, heading, True
            heading = Content()


def _title(name: str) -> Content:
    return Content.styled(say(f"tui.models.{name}"), "bold $primary")


def _system_order(group: list[ModelEntry]) -> tuple[bool, int]:
    """Sort key: systems with a chat template before those of 2023, then by smallest model."""
    modern = any(entry.format == CHAT_TEMPLATE for entry in group)
    return not modern, min(entry.memory_bytes for entry in group)
