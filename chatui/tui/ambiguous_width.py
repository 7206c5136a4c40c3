"""Support terminals that draw ambiguous characters two cells wide, such as “ ” … — α →.

Unicode leaves their width to the font (UAX #11, class A). Textual measures all text with
:mod:`rich.cells`, whose table is changed here. Box drawing and block characters, which belong to
the same class but must fill one cell, are replaced by ASCII characters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

_LINES = range(0x2500, 0x25A0)
"""Box drawing and block elements."""

_PRIVATE = range(0xE000, 0xF900)


def _ascii(line: str) -> str:
    name = unicodedata.name(line)
    if "BLOCK" in name or "SHADE" in name or "QUADRANT" in name:
        steps = "▁▂▃▄▅▆▇█".find(line)
        return "|" if line in "▌▐▎▏" else "_..-==##"[steps] if steps >= 0 else "#"
    if name.endswith("HEAVY HORIZONTAL") or "DOUBLE HORIZONTAL" in name:
        return "="
    return "-" if name.endswith("HORIZONTAL") else "|" if name.endswith("VERTICAL") else "+"


IN_ASCII = {code: _ascii(chr(code)) for code in _LINES}
"""Table of ASCII replacements for :meth:`str.translate`."""


def widen() -> None:
    """Make ambiguous characters two cells wide in the whole process."""
    from rich import cells, segment
    from textual.scrollbar import ScrollBarRender

    load = cells.load_cell_table  # type: ignore[attr-defined]
    if load.__module__ == __name__:
        return

    @cache
    def load_widened(unicode_version: str = "auto") -> cells.CellTable:
        table = load(unicode_version)
        return table._replace(widths=_merged(table.widths))

    load_widened.__module__ = __name__
    is_ascii = frozenset(map(chr, range(0x20, 0x7F))).issuperset
    for module, name, value in (
        (cells, "load_cell_table", load_widened),
        (cells, "_is_single_cell_widths", is_ascii),
        (segment, "_is_single_cell_widths", is_ascii),
        (ScrollBarRender, "VERTICAL_BARS", [" "] * 8),
        (ScrollBarRender, "HORIZONTAL_BARS", [" "] * 8),
    ):
        setattr(module, name, value)
    cells.get_character_cell_size.cache_clear()
    cells.cached_cell_len.cache_clear()


def _merged(widths: Any) -> tuple[Any, ...]:
    """Add a row for each ambiguous character that the table does not contain."""
    known = {code for start, end, _ in widths for code in range(start, end + 1)}
    known.update(_LINES, _PRIVATE)
    codes = (code for code in range(0xA1, 0x1F200) if code not in known)
    ambiguous = (code for code in codes if unicodedata.east_asian_width(chr(code)) == "A")
    return tuple(sorted((*map(tuple, widths), *((code, code, 2) for code in ambiguous))))


def writing_ascii_lines(write: Callable[[str], None]) -> Callable[[str], None]:
    """Return a ``write`` function that replaces box drawing and blocks by ASCII characters."""
    return lambda text: write(text.translate(IN_ASCII))
