"""Make text from users, models, files and servers safe to show.

Terminals execute control characters and reorder text at bidirectional ones, and lone surrogates
cannot be encoded. Each of these characters is replaced with one visible character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_UNSAFE_CLASS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # bidirectional and deprecated formatting
    "\u2028\u2029\ufff9-\ufffb"  # line separators, interlinear annotation
    "\ud800-\udfff"  # lone surrogates
)
_UNSAFE = re.compile(f"[{_UNSAFE_CLASS}]")
_UNSAFE_IN_A_LINE = re.compile(f"[\t\n{_UNSAFE_CLASS}]")
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_LINE_BREAK = re.compile("\r\n|[\x85\u2028\u2029]")
_ESCAPE_PLANE = 0x40000
"""Start of an unassigned plane; its characters stand for unsafe ones in an editor."""

_ESCAPED = re.compile(f"[{chr(_ESCAPE_PLANE)}-{chr(_ESCAPE_PLANE + 0xFFFF)}]")
_MOST_QUOTED_CHARACTERS = 200


def _picture(code: int) -> str:
    """Return a visible character, one cell wide, for an unsafe one."""
    if code < 0x20:
        return chr(0x2400 + code)
    if code in (0x85, 0x2028, 0x2029):
        return "␤"
    return "␡" if code == 0x7F else "\ufffd"


def plain_text(text: str) -> str:
    """Replace each unsafe character with a visible one; keep newlines and tabs.

    The line breaks of Windows and Unicode (CR LF, U+0085, U+2028, U+2029) become newlines.
    """
    return _UNSAFE.sub(lambda match: _picture(ord(match[0])), _LINE_BREAK.sub("\n", text))


def one_line(text: str, limit: int | None = 200, *, drop_unsafe: bool = False) -> str:
    """Return ``text`` on one line, with white space collapsed.

    Args:
        limit: maximum number of characters; a longer text ends with "…". None for no limit.
        drop_unsafe: replace unsafe characters with white space instead of visible characters.
    """
    if limit is not None:
        text = text[: limit * 4]
    text = _UNSAFE.sub(" ", text) if drop_unsafe else plain_text(text)
    line = " ".join(text.split())
    return line if limit is None or len(line) <= limit else line[: limit - 1] + "…"


def in_quotes(text: str) -> str:
    """Return the first 200 characters of ``text`` in quotation marks, with all white space."""
    if len(text) > _MOST_QUOTED_CHARACTERS:
        text = text[: _MOST_QUOTED_CHARACTERS - 1] + "…"
    return f"“{_UNSAFE_IN_A_LINE.sub(lambda match: _picture(ord(match[0])), text)}”"


def token_in_quotes(token: str) -> str:
    """Return a tokenizer's piece in quotation marks, with white space made visible."""
    return "'" + token.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣") + "'"


def similar_names(name: str, known: Iterable[str]) -> str:
    """Return up to three names of ``known`` similar to ``name``, joined by commas."""
    from difflib import get_close_matches

    return ", ".join(get_close_matches(name.casefold(), list(known), n=3, cutoff=0.5))


def fit_cells(line: str, cells: int) -> str:
    """Cut ``line`` to at most ``cells`` terminal cells, with "…" at the end if it was longer."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(line) <= cells:
        return line
    return set_cell_size(line, cells - 1).rstrip() + "…"


def without_surrogates(text: str) -> str:
    """Join surrogate pairs and replace lone surrogates with U+FFFD, so that UTF-8 can encode it."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def escape_json(text: str) -> str:
    """Escape characters in JSON that a terminal would execute or UTF-8 cannot encode."""
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def escape_unsafe(text: str) -> str:
    """Replace unsafe characters with unassigned ones, which have a width and no effect.

    For an editor that must return its text unchanged: :func:`unescape_unsafe` reverses it, and
    :func:`escaped_as_shown` returns the text to display. CR stays.
    """
    return _UNSAFE.sub(
        lambda match: match[0] if match[0] == "\r" else chr(_ESCAPE_PLANE + ord(match[0])), text
    )


def unescape_unsafe(text: str) -> str:
    """Reverse :func:`escape_unsafe`."""
    return _ESCAPED.sub(lambda match: chr(ord(match[0]) - _ESCAPE_PLANE), text)


def escaped_as_shown(text: str) -> str:
    """Replace each escaped character with the visible one to display."""
    return _ESCAPED.sub(lambda match: _picture(ord(match[0]) - _ESCAPE_PLANE), text)


class StopStrings:
    """Passes text through until it contains a stop string.

    Text that may be the start of a stop string is held back. This is shorter than the longest stop
    string, so the work for each token is bounded.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        self._strings = tuple(dict.fromkeys(string for string in strings if string))
        self._held = ""
        self.stopped = False

    def add(self, text: str) -> str:
        """Add text and return the text to show; set ``stopped`` at a complete stop string."""
        if self.stopped:
            return ""
        if not self._strings:
            return text
        text = self._held + text
        found = [start for string in self._strings if (start := text.find(string)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)]
        held = max(_overlap(text, string) for string in self._strings)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """Return the text held back, at the end of a reply without a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, string: str) -> int:
    """Return the length of the longest proper prefix of ``string`` that ends ``text``."""
    lengths = range(min(len(text), len(string) - 1), 0, -1)
    return next((length for length in lengths if text.endswith(string[:length])), 0)
