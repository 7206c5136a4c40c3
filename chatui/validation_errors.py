"""Translate msgspec's validation errors for the user."""

from __future__ import annotations

import re

from chatui.locales import say

_TYPES = {"int": "whole", "float": "number", "array": "list", "object": "table"}
"""Our names of msgspec's types, for ``settings.range``."""


def key_and_reason(error: Exception) -> tuple[str, str]:
    """Return the key of an invalid value, such as "servers[0].url" or "", and the reason.

    msgspec's message is "Expected `str`, got `int` - at `$.theme`"; other messages are unchanged.
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
        reason = say("settings.not_a_choice", value=reason.removeprefix("Invalid enum value "))
    return key, reason


def describe_error(error: Exception) -> str:
    """Return the key of an invalid value and the reason in one text."""
    return " ".join(filter(None, key_and_reason(error)))
