"""Terminals that draw ambiguous characters two cells wide: “ ” … — α → and the like.

Unicode leaves their width to the font (UAX #11, class A). All that is measured on the screen is
measured by :mod:`rich.cells`; here its table is widened. Lines, bars and blocks, which have the
class too and are drawn by the cell, are written in ASCII instead.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, cast

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
"""For :meth:`str.translate`."""


def widen() -> None:
    """From now on ambiguous characters take two cells, for the whole process."""
    from rich import cells, segment
    from textual.scrollbar import ScrollBarRender

    load = cells.load_cell_table  # type: ignore[attr-defined]
    if load.__module__ == __name__:
        return

    @cache
    def load_widened(unicode_version: str = "auto") -> cells.CellTable:
        table = load(unicode_version)
        return table._replace(widths=tuple(_merged(table.widths)))

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


def _merged(widths: Any) -> Iterator[tuple[int, int, int]]:
    """The table with a row for each run of ambiguous characters that it has no row for."""
    known = {code for start, end, _ in widths for code in range(start, end + 1)}
    rows = [tuple(row) for row in widths]
    for code in range(0xA1, 0x1F200):
        if (
            unicodedata.east_asian_width(chr(code)) == "A"
            and code not in known
            and code not in _LINES
            and code not in _PRIVATE
        ):
            rows.append((code, code, 2))
    yield from sorted(cast("list[tuple[int, int, int]]", rows))


def writing_ascii_lines(write: Callable[[str], None]) -> Callable[[str], None]:
    """``write`` with lines and blocks in ASCII."""
    return lambda text: write(text.translate(IN_ASCII))
