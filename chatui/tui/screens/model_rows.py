"""The rows of the model picker: models here, on servers, and to download, by system."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import psutil
from textual.content import Content

from chatui.catalog import ModelEntry
from chatui.locales import say
from chatui.messages import Loaded
from chatui.prompting.families import CHAT_TEMPLATE
from chatui.readable import size
from chatui.text import one_line

_MUTED = "$foreground-muted"


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
    """Return the memory and the context window that a model would have on the current device.

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
        parts.append(Content.styled(f"  {one_line(entry.reference)}", "$foreground-muted"))
    # The problem of a server is in its description.
    if not entry.usable and entry.kind != "server":
        why = "missing" if entry.lacking else "adapter" if entry.kind == "adapter" else "unusable"
        parts.append(Content.styled(f"  {say(f'tui.models.{why}')}", "$warning 80%"))
    disk = size(entry.disk_bytes) if entry.disk_bytes else ""
    facts = (entry.family, disk, memory, entry.description)
    known = " · ".join(one_line(fact) for fact in facts if fact)
    if known:
        parts.append(Content.styled(f"\n  {known}", "$foreground-muted"))
    return Content.assemble(*parts)


@dataclass
class ModelRows:
    """The rows of a list with headings.

    Attributes:
        rows: one row for each entry.
        headings: by the index of the entry below each.
    """

    entries: list[ModelEntry] = field(default_factory=list)
    rows: list[Content] = field(default_factory=list)
    headings: dict[int, Content] = field(default_factory=dict)

    def add(self, heading: Content, entries: Sequence[ModelEntry], rows: Sequence[Content]) -> None:
        """Add a group with its heading, unless it is empty."""
        if entries:
            self.headings[len(self.entries)] = heading
            self.entries += entries
            self.rows += rows


def grouped_rows(
    entries: Sequence[ModelEntry],
    current: Sequence[str],
    recent: Sequence[str],
    memory: Callable[[ModelEntry], str] = lambda _: "",
) -> ModelRows:
    """Return the models in groups, with the models to download grouped by system.

    Args:
        current: the references of the current model.
        recent: names of models, most recently used first.
        memory: returns the memory text of a usable model.
    """
    place = {name: index for index, name in enumerate(recent)}
    here = [entry for entry in entries if entry.usable and entry.kind != "server"]
    here.sort(key=lambda entry: place.get(entry.reference, len(place)))
    servers = [entry for entry in entries if entry.kind == "server"]
    absent = [entry for entry in entries if not entry.usable and entry.kind != "server"]
    rest = [entry for entry in absent if not entry.lacking]
    found = ModelRows()
    for name, group in (("here", here), ("servers", servers)):
        rows = [model_row(one, one.reference in current, memory(one)) for one in group]
        found.add(_title(name), group, rows)
    for name, group in (("to_fetch", [one for one in absent if one.lacking]), ("rest", rest)):
        systems: dict[str, list[ModelEntry]] = {}
        for entry in group:
            systems.setdefault(entry.system or entry.title, []).append(entry)
        heading = _title(name)
        for system, variants in sorted(systems.items(), key=lambda item: _system_order(item[1])):
            variants.sort(key=lambda entry: entry.memory_bytes)
            lines = [heading, _system_heading(system, variants[0])]
            shown = Content("\n").join(filter(None, lines))
            found.add(shown, variants, [variant_row(entry) for entry in variants])
            heading = Content()
    return found


def _title(name: str) -> Content:
    return Content.styled(say(f"tui.models.{name}"), "bold $primary")


def _system_order(group: list[ModelEntry]) -> tuple[bool, int]:
    """Sort key: systems with a chat template before those of 2023, then by smallest model."""
    modern = any(entry.format == CHAT_TEMPLATE for entry in group)
    return not modern, min(entry.memory_bytes for entry in group)


def _system_heading(system: str, entry: ModelEntry) -> Content:
    """Return a system's name and description."""
    described = f"  {one_line(entry.description)}".rstrip()
    return Content.assemble(("  " + one_line(system), "bold"), (described, _MUTED))


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
