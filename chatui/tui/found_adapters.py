"""The adapters that can be offered: those on this disk, and those that the user named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chatui.catalog.adapters import AdapterSummary, adapters, describe
from chatui.errors import ChatuiError
from chatui.messages import Adapter
from chatui.settings import Settings
from chatui.tui.adapter_names import adapter_title


@dataclass(frozen=True)
class FoundAdapter:
    """An adapter that can be put on.

    Attributes:
        adapter: what a model spec takes.
        summary: what it says of itself.
    """

    adapter: Adapter
    summary: AdapterSummary


def found_adapters(settings: Settings, given: tuple[Adapter, ...] = ()) -> tuple[FoundAdapter, ...]:
    """The adapters ``given``, then those in the hubs' caches and in the settings' folders."""
    named = {Path(one.path).absolute(): FoundAdapter(one, _summary(one)) for one in given}
    on_disk = {
        Path(one.path).absolute(): FoundAdapter(Adapter(one.path), one)
        for one in adapters(settings)
    }
    return tuple(
        (named | {path: one for path, one in on_disk.items() if path not in named}).values()
    )


def _summary(adapter: Adapter) -> AdapterSummary:
    """What an adapter says of itself; its name alone where it says nothing readable."""
    title = adapter_title(adapter.path)
    try:
        return describe(Path(adapter.path), title)
    except (ChatuiError, OSError):
        return AdapterSummary(adapter.path, title)
