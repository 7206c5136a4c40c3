"""What a model is called on the screen."""

from __future__ import annotations

from functools import cache

from chatui.catalog import library
from chatui.locales import current_language
from chatui.tui.adapter_names import AND


def shown_name(name: str) -> str:
    """The title of a preset in the user's language; any other name as it is.

    What was put on the model stays beside its name.
    """
    model, put_on, adapters = name.partition(AND)
    return _title(model, current_language()) + put_on + adapters


def description_of(name: str) -> str:
    """A preset's one line in the user's language; "" for any other name."""
    preset = library.find(name) if name else None
    if preset is None or preset.facts.description is None:
        return ""
    return preset.facts.description.in_language(current_language())


@cache
def _title(name: str, language: str) -> str:
    preset = library.find(name) if name else None
    if preset is None or preset.facts.title is None:
        return name
    return preset.facts.title.in_language(language) or name
