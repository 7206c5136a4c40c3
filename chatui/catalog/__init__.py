"""The model catalog: presets, and the models found on this disk."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chatui.catalog.library import problems
    from chatui.catalog.listing import (
        ModelDetails,
        ModelEntry,
        describe_model,
        list_models,
        recommended_model,
    )
    from chatui.catalog.resolving import resolve

__all__ = [
    "ModelDetails",
    "ModelEntry",
    "describe_model",
    "list_models",
    "problems",
    "recommended_model",
    "resolve",
]

_MODULES = {"problems": "library", "resolve": "resolving"}


def __getattr__(name: str) -> Any:
    """Import a name on first use, so that the first frame of the screen waits for fewer modules."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'listing')}"), name)
