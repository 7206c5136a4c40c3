"""All that is known of one model: its parts and where they are, sizes, licence, source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from chatui.catalog import library, listing
from chatui.catalog.places import existing, find_part
from chatui.catalog.resolving import nothing_called
from chatui.catalog.schema import Part, Preset, Weights
from chatui.errors import ChatuiError
from chatui.locales import current_language
from chatui.settings import Settings

Role = Literal["base", "delta", "adapter", "tokenizer"]


@dataclass(frozen=True)
class PartFound:
    """A part of a preset.

    Attributes:
        title: its hub id or name.
        path: where it is on this disk; empty where it is not.
    """

    role: Role
    title: str
    path: str = ""


@dataclass(frozen=True)
class Details:
    """What is known beyond the row in the models' table; empty or None where nothing is.

    Attributes:
        aliases: other names that ``--model`` takes.
        parts: in the order in which they are put together.
        weights: sizes, for the whole of a preset.
        context_limit: tokens, prompt and reply together.
        sampling: the preset's values.
        stop_strings: the preset's, beside those of its format.
        licence, source, assembly: see :class:`chatui.catalog.schema.Facts`.
    """

    entry: listing.Entry
    aliases: tuple[str, ...] = ()
    parts: tuple[PartFound, ...] = ()
    weights: Weights | None = None
    context_limit: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    stop_strings: tuple[str, ...] = ()
    licence: str = ""
    source: str = ""
    assembly: str = ""


def describe(reference: str, settings: Settings) -> Details:
    """What is known of the model that ``reference`` names (see ``resolve``).

    Raises:
        ChatuiError: nothing is called so.
    """
    preset = library.load().find(reference)
    if preset is not None:
        return _of_preset(preset, settings)
    for entry in listing.entries(settings):
        if reference in (entry.reference, entry.title):
            return Details(entry)
    path = existing(reference)
    if path is None:
        raise ChatuiError(nothing_called(reference))
    return Details(listing.of_path(path))


def _of_preset(preset: Preset, settings: Settings) -> Details:
    facts = preset.facts
    roles: tuple[tuple[Role, Part | None], ...] = (
        ("base", facts.base),
        ("delta", facts.delta),
        *(("adapter", part) for part in facts.adapters or ()),
        ("tokenizer", facts.tokenizer),
    )
    return Details(
        entry=listing.of_preset(preset, settings),
        aliases=preset.aliases,
        parts=tuple(
            PartFound(role, part.title, str(find_part(part, settings) or ""))
            for role, part in roles
            if part is not None
        ),
        weights=facts.weights,
        context_limit=facts.context_limit,
        sampling=facts.sampling or {},
        stop_strings=facts.stop_strings or (),
        licence=facts.licence or "",
        source=facts.source or "",
        assembly=facts.assembly.in_language(current_language()) if facts.assembly else "",
    )
