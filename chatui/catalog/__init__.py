"""Which models there are: presets, and what lies on this disk."""

from chatui.catalog.listing import Entry, entries, problems
from chatui.catalog.resolving import resolve

__all__ = ["Entry", "entries", "problems", "resolve"]
