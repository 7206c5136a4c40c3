"""Backends by name, found through the entry point group ``chatui.backends``."""

from __future__ import annotations

from chatui.backends.local import LocalBackend
from chatui.backends.protocol import Backend
from chatui.errors import ChatuiError
from chatui.locales import say

GROUP = "chatui.backends"


def create(name: str) -> Backend:
    """Create a backend; it is not started yet.

    Raises:
        ChatuiError: the name is unknown, its package is missing, or its class is not a backend.
    """
    if name == "local":
        return LocalBackend()
    # Imported late: it takes two megabytes, and the local backend does not need it.
    from importlib.metadata import entry_points

    points = entry_points(group=GROUP)
    if name not in points.names:
        from difflib import get_close_matches

        nearest = get_close_matches(name, {"local", *points.names}, n=1, cutoff=0.0)
        raise ChatuiError(say("engine.unknown_backend", name=name, nearest=", ".join(nearest)))
    try:
        backend = points[name].load()()
    except ImportError as error:
        raise ChatuiError(say("engine.backend_missing", name=name, reason=error)) from error
    if not isinstance(backend, Backend):
        raise ChatuiError(say("engine.not_a_backend", name=name, value=points[name].value))
    return backend
