"""Which models there are: presets, and what lies on this disk."""

from chatui.catalog.details import Details, details
from chatui.catalog.listing import Entry, entries, problems
from chatui.catalog.resolving import resolve

__all__ = ["Details", "Entry", "details", "entries", "problems", "resolve"]
