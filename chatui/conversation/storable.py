"""Any Python text as text that SQLite can keep and search.

SQLite's text is UTF-8, which has no lone surrogates, and its functions end at a NUL. Those
characters, and the escape character itself, are written as DLE (U+0010, "data link escape") and
four hexadecimal digits. All other text stays as it is, so that LIKE, the search index and other
programs read it.
"""

from __future__ import annotations

import re

_UNSTORABLE = re.compile("[\x00\x10\ud800-\udfff]")
_ESCAPE = re.compile("\x10([0-9a-f]{4})")


def to_stored(text: str) -> str:
    """``text`` without NUL and lone surrogates; :func:`from_stored` gives it back exactly."""
    return _UNSTORABLE.sub(lambda match: f"\x10{ord(match[0]):04x}", text)


def from_stored(stored: str) -> str:
    """The text that :func:`to_stored` was given."""
    if "\x10" not in stored:
        return stored
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), stored)
