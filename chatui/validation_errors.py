"""Translate msgspec's validation errors for the user."""

from __future__ import annotations

import re
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from chatui.locales import say

_TYPES = {"int": "whole", "float": "number", "array": "list", "object": "table"}
"""Our names of msgspec's types, for ``settings.range``."""


def key_and_reason(error: Exception, kind: Any = None) -> tuple[str, str]:
    """Return the key of an invalid value, such as "servers[0].url" or "", and the reason.

    msgspec's message is "Expected `str`, got `int` - at `$.theme`"; other messages are unchanged.

    Args:
        kind: the checked type, of which a value that is no choice names the choices.
    """
    reason, _, path = str(error).partition(" - at `$")
    key = path.removesuffix("`").removeprefix(".")
    if field := re.fullmatch("Object (missing required|contains unknown) field `(.+)`", reason):
        key = ".".join(filter(None, (key, field[2])))
        reason = say("settings.missing" if field[1][0] == "m" else "settings.unknown")
    elif expected := re.match("Expected `(.+?)`( [<>]=? [^ ,]+)?", reason):
        wanted = [_TYPES.get(name, name) for name in expected[1].split(" | ") if name != "null"]
        words = " / ".join(say(f"settings.range.{name}") for name in wanted)
        reason = say("settings.wrong_type", wanted=words + (expected[2] or ""))
    elif reason.startswith("Invalid enum value "):
        value, choices = reason.removeprefix("Invalid enum value "), ", ".join(_choices(kind, key))
        reason = say("settings.not_a_choice", value=value, choices=choices)
    return key, reason


def _choices(kind: Any, key: str) -> list[str]:
    """Return the values that a key of ``kind`` allows, as text for the user."""
    for name in re.findall(r"[A-Za-z_]\w*", key):
        # Of tuple[Server, ...], the keys are those of Server.
        owner = next(iter(get_args(kind)), kind)
        kind = get_type_hints(owner).get(name) if isinstance(owner, type) else None
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    found: list[str] = []
    for member in members:
        if get_origin(member) is Literal:
            found += map(str, get_args(member))
        elif member in (bool, int):
            found.append(say("settings.range.bool" if member is bool else "settings.range.whole"))
    return found


def describe_error(error: Exception, kind: Any = None) -> str:
    """Return the key of an invalid value and the reason in one text; see ``key_and_reason``."""
    return " ".join(filter(None, key_and_reason(error, kind)))
