"""Text from users, models, files and servers, made safe to show.

A terminal obeys control characters and reorders bidirectional ones; a lone surrogate cannot be
encoded at all. Each is shown as one visible character, so nothing is hidden and nothing obeyed.
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
_SHELTER = 0x40000
"""Start of an unassigned plane whose characters stand for unsafe ones in an editor."""

_SHELTERED = re.compile(f"[{chr(_SHELTER)}-{chr(_SHELTER + 0xFFFF)}]")
_QUOTED_CHARACTERS = 200


def _picture(code: int) -> str:
    """The visible character for an unsafe one; always one cell wide."""
    if code < 0x20:
        return chr(0x2400 + code)
    if code in (0x85, 0x2028, 0x2029):
        return "␤"
    return "␡" if code == 0x7F else "\ufffd"


def plain_text(text: str) -> str:
    """Make every unsafe character of ``text`` visible; newlines and tabs stay.

    The line breaks of Windows and Unicode (CR LF, U+0085, U+2028, U+2029) become newlines.
    """
    return _UNSAFE.sub(lambda match: _picture(ord(match[0])), _LINE_BREAK.sub("\n", text))


def one_line(text: str, limit: int | None = 200, *, drop_unsafe: bool = False) -> str:
    """``text`` on one line, white space collapsed.

    Args:
        limit: cut after so many characters, the last one "…"; None keeps all.
        drop_unsafe: unsafe characters become white space instead of visible.
    """
    if limit is not None:
        text = text[: limit * 4]
    text = _UNSAFE.sub(" ", text) if drop_unsafe else plain_text(text)
    line = " ".join(text.split())
    return line if limit is None or len(line) <= limit else line[: limit - 1] + "…"


def in_quotes(text: str) -> str:
    """The first 200 characters of ``text`` between quotation marks, all white space kept."""
    if len(text) > _QUOTED_CHARACTERS:
        text = text[: _QUOTED_CHARACTERS - 1] + "…"
    return f"“{_UNSAFE_IN_A_LINE.sub(lambda match: _picture(ord(match[0])), text)}”"


def token_in_quotes(token: str) -> str:
    """A tokenizer's piece between quotation marks, its white space made visible."""
    return "'" + token.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣") + "'"


def similar_names(name: str, known: Iterable[str]) -> str:
    """Up to three of ``known`` that resemble ``name``, separated by commas; "" if none does."""
    from difflib import get_close_matches

    return ", ".join(get_close_matches(name.casefold(), list(known), n=3, cutoff=0.5))


def fit_cells(line: str, cells: int) -> str:
    """The start of ``line`` that fits ``cells`` terminal cells, "…" at its end if cut."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(line) <= cells:
        return line
    return set_cell_size(line, cells - 1).rstrip() + "…"


def without_surrogates(text: str) -> str:
    """``text`` as UTF-8 can encode it: surrogate pairs joined, lone surrogates as U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def escape_json(text: str) -> str:
    """JSON with the characters escaped that a terminal obeys or UTF-8 cannot encode."""
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def escape_unsafe(text: str) -> str:
    """``text`` with unsafe characters moved to unassigned ones that have a width and no effect.

    For an editor that must return its text unchanged: :func:`unescape_unsafe` reverses it, and
    :func:`escaped_as_shown` returns the text to display. CR stays.
    """
    return _UNSAFE.sub(
        lambda match: match[0] if match[0] == "\r" else chr(_SHELTER + ord(match[0])), text
    )


def unescape_unsafe(text: str) -> str:
    """The text that :func:`escape_unsafe` was given."""
    return _SHELTERED.sub(lambda match: chr(ord(match[0]) - _SHELTER), text)


def escaped_as_shown(text: str) -> str:
    """What to show for sheltered text, character for character."""
    return _SHELTERED.sub(lambda match: _picture(ord(match[0]) - _SHELTER), text)


class StopStrings:
    """Lets text through until one of the stop strings is complete.

    What may become a stop string is held back: at most the longest stop string less one
    character, so the work for each token is bounded.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        self._strings = tuple(dict.fromkeys(string for string in strings if string))
        self._held = ""
        self.stopped = False

    def add(self, text: str) -> str:
        """The text that can be shown now; sets ``stopped`` when a stop string is complete."""
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
        """Return the text still held back; the reply ended without a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, string: str) -> int:
    """Length of the longest proper beginning of ``string`` with which ``text`` ends."""
    for length in range(min(len(text), len(string) - 1), 0, -1):
        if text.endswith(string[:length]):
            return length
    return 0
