"""The prompt formats by name: chatui's own, and those of other packages.

Most of chatui's are in ``dialogues.toml``; each module of this folder has a tuple ``FORMATS``.
Other packages add formats through the entry point group ``chatui.formats``: the name of an entry
point is the format's name, its object a :class:`~chatui.prompting.format.PromptFormat`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting.format import CHAT_TEMPLATE, PromptFormat
from chatui.text import in_quotes, similar_names

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

GROUP = "chatui.formats"


def get(name: str) -> PromptFormat:
    """Return the format called ``name``.

    Raises:
        ChatuiError: there is no such format (similar names are suggested), another package's
            cannot be loaded, or ``name`` is "chat-template", which is part of a model.
    """
    if name == CHAT_TEMPLATE:
        raise ChatuiError(say("prompting.template_in_model"))
    if name in _built_in():
        return _built_in()[name]
    others = _others()
    if name not in others.names:
        known = (*names(), CHAT_TEMPLATE)
        near = similar_names(name, known)
        key = "prompting.unknown_near" if near else "prompting.unknown"
        raise ChatuiError(say(key, name=in_quotes(name), names=near or ", ".join(known)))
    try:
        found = others[name].load()
    except Exception as error:
        raise ChatuiError(say("prompting.broken", name=name, reason=error)) from error
    if not isinstance(found, PromptFormat):
        raise ChatuiError(say("prompting.no_format", name=name, object=others[name].value))
    return found


def names() -> tuple[str, ...]:
    """Return all names of formats, sorted."""
    return tuple(sorted({*_built_in(), *_others().names}))


@cache
def _built_in() -> dict[str, PromptFormat]:
    import pkgutil

    modules = (import_module(f"{__name__}.{file.name}") for file in pkgutil.iter_modules(__path__))
    return {found.name: found for module in modules for found in module.FORMATS}


def _others() -> EntryPoints:
    # Slow to import, and most starts use a built-in format.
    from importlib.metadata import entry_points

    return entry_points(group=GROUP)
