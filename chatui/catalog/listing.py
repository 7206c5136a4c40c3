"""What can be used now, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from chatui.catalog import library
from chatui.catalog.resolving import missing_parts
from chatui.catalog.schema import Preset
from chatui.locales import current_language, say
from chatui.settings import Settings

Kind = Literal["preset", "hub", "folder", "file"]


@dataclass(frozen=True)
class Entry:
    """A row of the models' table.

    Attributes:
        reference: what ``--model`` takes.
        kind: a preset of the catalog, a repository in a hub's cache, a folder or a file.
        title: shown beside the reference; may equal it.
        description: one line in the user's language; empty where nothing is known.
        family: e.g. "llama"; empty where it is not known.
        format: name of the prompt format; empty where it is not known.
        disk_bytes: bytes of its files: to fetch for a preset, on the disk for the others.
        memory_bytes: bytes of memory that its weights take as they are loaded by default.
        usable: whether it runs here now.
        missing: why not, in a sentence; empty where it is usable.
    """

    reference: str
    kind: Kind
    title: str
    description: str = ""
    family: str = ""
    format: str = ""
    disk_bytes: int = 0
    memory_bytes: int = 0
    usable: bool = True
    missing: str = ""


def entries(settings: Settings) -> tuple[Entry, ...]:
    """Presets, and what lies in the hubs' caches and in the folders of the settings."""
    presets = library.load().by_name.values()
    return tuple(_of_preset(preset, settings) for preset in presets)


def problems() -> tuple[str, ...]:
    """A sentence for each of the user's preset files that is wrong and was skipped."""
    return library.load().problems


def _of_preset(preset: Preset, settings: Settings) -> Entry:
    facts = preset.facts
    language = current_language()
    missing = ""
    if facts.lacks:
        missing = facts.lacks.in_language(language)
    elif parts := missing_parts(preset, settings):
        names = ", ".join(part.title for part in parts)
        missing = say("catalog.to_fetch", parts=names, command=f"chatui pull {preset.name}")
    weights = facts.weights
    return Entry(
        reference=preset.name,
        kind="preset",
        title=facts.title.in_language(language) if facts.title else preset.name,
        description=facts.description.in_language(language) if facts.description else "",
        family=facts.family or "",
        format=facts.format or "",
        disk_bytes=round(weights.download_gb * 1e9) if weights else 0,
        memory_bytes=round(weights.fp16_gb * 1e9) if weights else 0,
        usable=not missing,
        missing=missing,
    )
