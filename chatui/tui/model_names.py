"""What a model is called on the screen."""

from __future__ import annotations

from chatui.catalog import library
from chatui.locales import current_language


def shown_name(name: str) -> str:
    """The title of a preset in the user's language; any other name as it is."""
    preset = library.load().by_name.get(name) if name else None
    if preset is None or preset.facts.title is None:
        return name
    return preset.facts.title.in_language(current_language()) or name
