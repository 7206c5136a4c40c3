"""The model catalog: presets, and the models found on this disk."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatui.catalog.library import problems as problems
    from chatui.catalog.listing import ModelDetails as ModelDetails
    from chatui.catalog.listing import ModelEntry as ModelEntry
    from chatui.catalog.listing import describe_model as describe_model
    from chatui.catalog.listing import list_models as list_models
    from chatui.catalog.listing import recommended_model as recommended_model
    from chatui.catalog.resolving import resolve as resolve

_LISTING = ("ModelDetails", "ModelEntry", "describe_model", "list_models", "recommended_model")
_MODULES = {"problems": "library", "resolve": "resolving"} | dict.fromkeys(_LISTING, "listing")


def __getattr__(name: str) -> Any:
    """Import a name on first use, so that the first frame of the screen waits for fewer modules."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
