"""Models by name: presets, and what is on this disk."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatui.catalog.library import problems
    from chatui.catalog.listing import Details, Entry, chat_model_for, describe, entries
    from chatui.catalog.resolving import resolve

__all__ = ["Details", "Entry", "chat_model_for", "describe", "entries", "problems", "resolve"]

_HOMES = {"problems": "library", "resolve": "resolving"}


def __getattr__(name: str) -> Any:
    """Import what is asked for: the first frame of the screen waits for all that is imported."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'listing')}"), name)
