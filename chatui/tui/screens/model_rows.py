"""The rows of F2: what can run here first, then servers, then what can be fetched, by system."""

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
    """0 if a name is what was typed, 1 if it begins so, 2 if it has it, 3 elsewhere."""
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
    """What a model takes where the present one is, with the window that it would have there.

    Args:
        loaded: the present model; None if none is, or not from this machine.
        asked: the window that the settings ask for, in tokens; None for as many as fit.
        weights: what the settings say of them.
    """
    if not entry.cache.numbers(1) or loaded is None or not loaded.free_bytes:
        return ""
    if loaded.skipped_gpu and not entry.small:
        # It goes to the GPU, of whose memory nobody has asked yet.
        return ""
    device = "cpu" if entry.small else loaded.device
    found = entry.fit(device, loaded.free_bytes, asked, weights)
    if found is None:
        return say("tui.models.does_not_fit")
    words = say("tui.models.memory", size=size(found.total), window=found.window)
    return f"int{found.bits}, {words}" if found.bits else words


def model_row(entry: ModelEntry, is_current: bool, memory: str = "") -> Content:
    """A model's two lines: what it is called, and what it is."""
    name = Content.styled(one_line(entry.title), "bold" if entry.usable else "dim")
    parts = [Content.styled("● " if is_current else "  ", "$primary"), name]
    if entry.reference != entry.title:
        parts.append(Content.styled(f"  {one_line(entry.reference)}", "$foreground-muted"))
    # What is wrong with a server stands below it.
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
    """A list with headings.

    Attributes:
        entries: in the order of the list.
        rows: one for each.
        headings: by the index of the entry that each stands above.
    """

    entries: list[ModelEntry] = field(default_factory=list)
    rows: list[Content] = field(default_factory=list)
    headings: dict[int, Content] = field(default_factory=dict)

    def add(self, heading: Content, entries: Sequence[ModelEntry], rows: Sequence[Content]) -> None:
        """Add a group, if there is anything in it."""
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
    """All models in their groups; each system that can be fetched stands there once.

    Args:
        current: the references that mean the model that answers now.
        recent: names of models, the last used first.
        memory: what a model that is here takes, in words.
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
        for system, variants in sorted(systems.items(), key=lambda item: _eagerness(item[1])):
            variants.sort(key=lambda entry: entry.memory_bytes)
            lines = [heading, _about(system, variants[0])]
            shown = Content("\n").join(filter(None, lines))
            found.add(shown, variants, [variant_row(entry) for entry in variants])
            heading = Content()
    return found


def _title(name: str) -> Content:
    return Content.styled(say(f"tui.models.{name}"), "bold $primary")


def _eagerness(group: list[ModelEntry]) -> tuple[bool, int]:
    """Models of today before those of 2023, small ones first."""
    modern = any(entry.format == CHAT_TEMPLATE for entry in group)
    return not modern, min(entry.memory_bytes for entry in group)


def _about(system: str, entry: ModelEntry) -> Content:
    """A system's name and what it is, once for all its variants."""
    described = f"  {one_line(entry.description)}".rstrip()
    return Content.assemble(("  " + one_line(system), "bold"), (described, _MUTED))


def variant_row(entry: ModelEntry) -> Content:
    """One line: the size on the disk, the name, and what stands in its way.

    The size comes first: on a narrow screen the end of a line is cut.
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
