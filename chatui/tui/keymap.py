"""Keys as the user's settings bind them: ``[keys]`` there, Textual's keymap here.

A binding is called what the last part of its description's key is: "tui.keys.regenerate" is
``regenerate``. F1, the lines of keys and all sentences name the keys that hold.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import Keys

from chatui import locales
from chatui.locales import say
from chatui.text import in_quotes

_OWNERS = (
    *("adapter_picker", "chat", "command_palette", "compare", "conversations"),
    *("help", "model_picker", "questions", "variant_picker"),
)
"""Modules of screens; with them comes all else that has keys."""
_PANELS = ("find_bar", "token_panel", "settings_panel", "side_bar")
_NAMED = {key.value for key in Keys}
_MODIFIERS = {"ctrl", "alt", "shift", "super", "meta", "hyper"}
_bound: dict[str, str] = {}
"""What the settings of the running app bind anew."""
_SAME_EVERYWHERE = "close"
"""Also on the key that opened a list, which goes with that."""


def binding_name(binding: Binding) -> str:
    """What the settings call a binding; "" for one that has no words."""
    return binding.description.rpartition(".")[2] if ".keys." in binding.description else ""


def rebind(app: App[Any], wanted: Mapping[str, object]) -> list[str]:
    """Bind keys as the settings want it.

    Args:
        wanted: by the names of bindings, each a key or several with commas between them.

    Returns:
        A sentence for each that is wrong; it is left out.
    """
    for module in (*(f"screens.{name}" for name in _OWNERS), *(f"widgets.{p}" for p in _PANELS)):
        import_module(f"chatui.tui.{module}")
    known: dict[str, set[str]] = {}
    together: list[dict[str, set[str]]] = []
    owners = [each for each in _classes(DOMNode) if each.__module__.startswith("chatui.")]
    for merged in (app._bindings, *filter(None, (each._merged_bindings for each in owners))):
        together.append({})
        for key, bindings in merged.key_to_bindings.items():
            merged.key_to_bindings[key] = [
                replace(each, id=binding_name(each)) for each in bindings
            ]
            together[-1].setdefault(key, set()).update(map(binding_name, bindings))
            for each in bindings:
                known.setdefault(binding_name(each), set()).add(key)
    problems: list[str] = []
    keymap: dict[str, str] = {}
    for name, keys in wanted.items():
        wrong = _wrong_key(keys)
        if name not in known or not name:
            problems.append(say("organise.keymap.unknown", name=in_quotes(name)))
        elif wrong:
            problems.append(say("organise.keymap.no_key", name=name, key=in_quotes(wrong)))
        else:
            keymap[name] = ",".join(part.strip() for part in str(keys).split(","))
    for name, key in _without_key(together, keymap).items():
        problems.append(say("organise.keymap.clash", key=key_label(key), name=name))
    app.set_keymap(keymap)
    _bound.update(keymap)
    locales.set_key_names(_new_names(known, keymap))
    return problems


def _without_key(
    together: Iterable[Mapping[str, set[str]]], keymap: Mapping[str, str]
) -> dict[str, str]:
    """What loses a key to another thing on the same screen or widget, and that key.

    Args:
        together: for each of them, the names of bindings by key.
    """
    lost = {}
    for here in together:
        for taker in keymap.keys() & set().union(*here.values()):
            for key in keymap[taker].split(","):
                lost.update(dict.fromkeys(here.get(key, set()) - keymap.keys() - {""}, key))
    return lost


def reset() -> None:
    """Name the keys as they are without settings."""
    _bound.clear()
    locales.set_key_names({})


def binding_label(binding: Binding) -> str:
    """The keys that a binding is on now, as people write them."""
    return key_label(_bound.get(binding_name(binding), binding.key))


def _classes(base: type[DOMNode]) -> Iterator[type[DOMNode]]:
    for owner in base.__subclasses__():
        yield owner
        yield from _classes(owner)


def _wrong_key(keys: object) -> str:
    """What of a setting's value is no key; "" if all are."""
    if not isinstance(keys, str):
        return str(keys)
    for part in keys.split(","):
        *modifiers, base = part.strip().split("+")
        is_known = base in _NAMED or len(base) == 1 or _is_character(base)
        if not is_known or not {*modifiers} <= _MODIFIERS:
            return part.strip() or keys or '""'
    return ""


def _is_character(name: str) -> bool:
    """Whether Textual calls a character so: "question_mark"."""
    try:
        return bool(unicodedata.lookup(name.replace("_", " ").upper()))
    except KeyError:
        return False


def _new_names(known: Mapping[str, set[str]], keymap: Mapping[str, str]) -> dict[str, str]:
    """Keys as sentences write them -> those that do the same now.

    A key that does several things, not all of which were bound anew, keeps its name.
    """
    names = {}
    for name, keys in keymap.items():
        for key in known[name]:
            others = {other for other, used in known.items() if key in used} - {name}
            if others <= {_SAME_EVERYWHERE, ""}:
                names[key_label(key)] = key_label(keys)
    return names


_NAMES = {
    "escape": "Esc",
    "pageup": "PageUp",
    "pagedown": "PageDown",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
}
_SIGNS = {"plus": "+", "minus": "-", "equals_sign": "=", "comma": ",", "full_stop": "."}
"""Keys that stand alone; behind Alt a sign has its name."""


def key_label(keys: str) -> str:
    """A binding's keys as people write them: "ctrl+n" is "Ctrl+N", and "N" is "Shift+N"."""
    return " / ".join(map(_one_key_label, keys.split(",")))


def _one_key_label(key: str) -> str:
    parts = key.strip().split("+")
    if parts[0] in _SIGNS:
        return _SIGNS[parts[0]]
    shift = "Shift+" if len(parts[0]) == 1 and parts[0].isupper() else ""
    return shift + "+".join(
        _NAMES.get(part, part.upper() if len(part) == 1 else part.title()) for part in parts
    )
