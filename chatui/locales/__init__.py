"""The sentences of the interface: a TOML file for each language and package."""

from __future__ import annotations

import errno
import locale
import os
import re
import string
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from msgspec import toml

LANGUAGES = ("zh", "en")

# The errors that the languages' system.toml translate.
_SYSTEM_ERRORS = (
    *("ENOENT", "EACCES", "EPERM", "EISDIR", "ENOTDIR", "EEXIST", "ENOSPC", "EROFS"),
    *("ENAMETOOLONG", "EIO", "ECONNREFUSED", "ECONNRESET", "ENETUNREACH", "EADDRINUSE"),
)

_REASON_INSIDE = re.compile(r"\{reason\}[^\w\s{]")


class _Formatter(string.Formatter):
    """Formats ``{count:round|rounds}`` as the count with the singular or plural."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        one, is_plural, many = format_spec.partition("|")
        if is_plural:
            return f"{value} {one if str(value) == '1' else many}"
        return super().format_field(value, format_spec)


_FORMATTER = _Formatter()
_current = ""
_key_names: dict[str, str] = {}
_key_pattern = re.compile("")


def language_of(environ: Mapping[str, str]) -> str:
    """Return the language of an environment: CHATUI_LANG, else the locale's, else English."""
    for name in ("CHATUI_LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = environ.get(name, "").lower()
        if value.startswith("zh"):
            return "zh"
        if value and name != "LANGUAGE":
            return "en"
    try:
        system = locale.getlocale()[0] or ""
    except ValueError:
        system = ""
    return "zh" if system.lower().startswith(("zh", "chinese")) else "en"


def set_language(language: str) -> None:
    """Set the language: "zh", "en", or "auto" for the environment's.

    Also sets CHATUI_LANG, for the processes that this one starts.
    """
    global _current
    if language == "auto":
        language = language_of(os.environ)
    _current = language if language in LANGUAGES else "en"
    os.environ["CHATUI_LANG"] = _current


def current_language() -> str:
    """Return "zh" or "en"."""
    global _current
    if not _current:
        _current = language_of(os.environ)
    return _current


@cache
def _words(language: str, file: str) -> dict[str, str]:
    """Return the sentences of a file by dotted key."""
    text = (Path(__file__).parent / language / f"{file}.toml").read_text(encoding="utf-8")
    return dict(_flat(toml.decode(text)))


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, str(value)


def set_key_names(names: Mapping[str, str]) -> None:
    """Replace names of keys in all sentences, e.g. "Ctrl+R" by "F12"."""
    global _key_names, _key_pattern
    _key_names = dict(names)
    longest_first = sorted(_key_names, key=len, reverse=True)
    any_name = "|".join(map(re.escape, longest_first))
    _key_pattern = re.compile(rf"(?<![\w+])(?:{any_name})(?![\w+])", re.ASCII)


def say(key: str, /, **values: object) -> str:
    """Return the sentence of ``key`` ("file.name" or "file.table.name") filled with ``values``.

    Raises:
        KeyError: the key or a value is missing.
    """
    file, _, name = key.partition(".")
    words = _words(current_language(), file)[name]
    if _key_names:
        words = _key_pattern.sub(lambda match: _key_names[match[0]], words)
    if "reason" in values:
        reason = values["reason"]
        values["reason"] = system_reason(reason) if isinstance(reason, OSError) else reason
        if _REASON_INSIDE.search(words):
            # Some libraries end their messages with a full stop.
            values["reason"] = str(values["reason"]).rstrip(" .。\n")
    return _FORMATTER.vformat(words, (), values)


def system_reason(error: OSError) -> str:
    """Return the message of a system error, in the current language, without number and path."""
    if type(error).__name__ == "gaierror":
        return say("system.gaierror")
    name = errno.errorcode.get(error.errno or 0)
    return say(f"system.{name}") if name in _SYSTEM_ERRORS else error.strerror or str(error)
