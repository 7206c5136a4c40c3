"""Key bindings from the ``[keys]`` table of the settings, as a Textual keymap.

The name of a binding is the last part of its description: ``regenerate`` for
"tui.keys.regenerate". F1, the key lines and all sentences name the keys in use.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import Keys, key_to_character

from chatui import locales, tui
from chatui.locales import say
from chatui.text import in_quotes

_KEY_NAMES = {key.value for key in Keys}
_MODIFIERS = {"ctrl", "alt", "shift", "super", "meta", "hyper"}
_rebound: dict[str, str] = {}
"""Keys by the names of the bindings that the running app's settings change."""
_SAME_EVERYWHERE = "close"
"""A binding that repeats the key that opened a list, and moves with it."""


def binding_name(binding: Binding) -> str:
    """Return the name of a binding in the settings; "" for one without a description."""
    return binding.description.rpartition(".")[2] if ".keys." in binding.description else ""


def rebind(app: App[Any], wanted: Mapping[str, object]) -> list[str]:
    """Apply the key bindings of the settings.

    Args:
        wanted: a key, or several separated by commas, by the names of bindings.

    Returns:
        A sentence for each wrong binding, which is skipped.
    """
    # Textual knows the bindings of imported classes only.
    for module in walk_packages(tui.__path__, f"{tui.__name__}."):
        import_module(module.name)
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
    for name, key in _lost_keys(together, keymap).items():
        problems.append(say("organise.keymap.clash", key=key_label(key), name=name))
    app.set_keymap(keymap)
    _rebound.update(keymap)
    locales.set_key_names(_new_names(known, keymap))
    return problems


def _lost_keys(
    together: Iterable[Mapping[str, set[str]]], keymap: Mapping[str, str]
) -> dict[str, str]:
    """Return the names of bindings that lose a key to a new binding, and that key.

    Args:
        together: the names of bindings by key, for each screen and widget.
    """
    lost = {}
    for here in together:
        for taker in keymap.keys() & set().union(*here.values()):
            for key in keymap[taker].split(","):
                lost.update(dict.fromkeys(here.get(key, set()) - keymap.keys() - {""}, key))
    return lost


def reset() -> None:
    """Forget the settings' bindings, so that sentences name the default keys."""
    _rebound.clear()
    locales.set_key_names({})


def binding_label(binding: Binding) -> str:
    """Return the keys of a binding, as users write them."""
    return key_label(_rebound.get(binding_name(binding), binding.key))


def _classes(base: type[DOMNode]) -> Iterator[type[DOMNode]]:
    for owner in base.__subclasses__():
        yield owner
        yield from _classes(owner)


def _wrong_key(keys: object) -> str:
    """Return the first part of a setting's value that is not a key, or ""."""
    if not isinstance(keys, str):
        return str(keys)
    for part in keys.split(","):
        *modifiers, base = part.strip().split("+")
        is_known = base in _KEY_NAMES or key_to_character(base) is not None
        if not is_known or not {*modifiers} <= _MODIFIERS:
            return part.strip() or keys or '""'
    return ""


def _new_names(known: Mapping[str, set[str]], keymap: Mapping[str, str]) -> dict[str, str]:
    """Return the new labels of keys by the labels that sentences contain.

    A key keeps its label if another of its bindings keeps the key.
    """
    names = {}
    for name, keys in keymap.items():
        for key in known[name]:
            others = {other for other, used in known.items() if key in used} - {name}
            if others <= {_SAME_EVERYWHERE, ""}:
                names[key_label(key)] = key_label(keys)
    return names


_LABELS = {
    "escape": "Esc",
    "pageup": "PageUp",
    "pagedown": "PageDown",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
}
_SIGNS = {"plus": "+", "minus": "-", "equals_sign": "=", "comma": ",", "full_stop": "."}
"""Labels of keys without a modifier; after a modifier the key's name is the label."""


def key_label(keys: str) -> str:
    """Return keys as users write them: "Ctrl+N" for "ctrl+n", "Shift+N" for "N"."""
    return " / ".join(map(_one_key_label, keys.split(",")))


def _one_key_label(key: str) -> str:
    parts = key.strip().split("+")
    if parts[0] in _SIGNS:
        return _SIGNS[parts[0]]
    shift = "Shift+" if len(parts[0]) == 1 and parts[0].isupper() else ""
    return shift + "+".join(
        _LABELS.get(part, part.upper() if len(part) == 1 else part.title()) for part in parts
    )
