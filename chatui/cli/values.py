"""Types of option values for argparse: each turns text into a value or says what is wrong."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter
from chatui.sampling import Setting
from chatui.settings import CONTEXT
from chatui.text import one_line


def adapter(text: str) -> Adapter:
    """Convert ``PATH[@SCALE]``."""
    # Imported late, so that a start without adapters is faster.
    from chatui.catalog.adapters import named_adapter

    try:
        return named_adapter(text)
    except ChatuiError as error:
        raise ArgumentTypeError(str(error)) from None


def encoding(text: str) -> str:
    """Convert the name of a text encoding."""
    try:
        "a".encode(text)
    except (LookupError, ValueError):
        raise ArgumentTypeError(say("cli.value.encoding", value=one_line(text, 60))) from None
    return text


def context(text: str) -> int | str:
    """Convert a context window in tokens, or "auto"."""
    return text if text == "auto" else number_in(CONTEXT)(text)


def conversation(text: str) -> int | None:
    """Convert a conversation's number; "all" is None."""
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:19]) < 2**63):
        raise ArgumentTypeError(say("cli.value.conversation", value=text[:60]))
    return int(text)


def moment(text: str, *, is_end: bool = False) -> float:
    """Convert a local date, with or without a time, to seconds since the epoch.

    Args:
        is_end: a date without a time is the end of that day instead of its start.
    """
    is_day = len(text) <= len("2026-01-31")
    try:
        day = timedelta(days=1 if is_end and is_day else 0)
        return (datetime.fromisoformat(text) + day).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise ArgumentTypeError(say("cli.value.date", value=text[:60])) from error


end_of = partial(moment, is_end=True)


def number_in(setting: Setting) -> Callable[[str], Any]:
    """Return the type of a number in the setting's range."""

    def convert(text: str) -> Any:
        shown = one_line(text, 60)
        try:
            value = setting.kind(text)
        except ValueError:
            key = "cli.value.whole" if setting.kind is int else "cli.value.number"
            raise ArgumentTypeError(say(key, value=shown)) from None
        if not setting.allows(value) or (setting.exclusive_minimum and value == setting.minimum):
            raise ArgumentTypeError(say("cli.value.range", value=shown, range=setting.range))
        return value

    return convert


def positive(maximum: float) -> Callable[[str], Any]:
    """Return the type of a number above 0, up to ``maximum``."""
    return number_in(Setting(float, 0, maximum, exclusive_minimum=True))


def whole_number(least: int, most: int = 2**63 - 1) -> Callable[[str], Any]:
    """Return the type of a whole number in a range."""
    return number_in(Setting(int, least, most))
