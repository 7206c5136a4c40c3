"""A screenshot of the app as an SVG in which wide characters are as wide as on a terminal.

Rich's export measures text in characters, not cells, and squeezes hanzi to half their width; here
each character is put into its own cell.
"""

from __future__ import annotations

import html
import re

from rich.cells import split_graphemes

CELL = 12.2
"""Width of a cell in Rich's export."""

FONTS = "'Noto Sans Mono CJK SC', 'Sarasa Mono SC', 'Fira Code', monospace"

_TEXT = re.compile(r'(<text[^>]*) x="([\d.]+)"([^>]*) textLength="[\d.]+"([^>]*>)([^<]*)(</text>)')


def widened(svg: str) -> str:
    """The picture with every character in its cell."""

    def place(match: re.Match[str]) -> str:
        text = html.unescape(match[5])
        x = float(match[2])
        places = []
        for start, end, cells in split_graphemes(text)[0]:
            # An SVG counts UTF-16 units; the later ones of a grapheme stay with its first.
            units = len(text[start:end].encode("utf-16-le")) // 2
            places += [f"{x:.1f}"] * units
            x += cells * CELL
        return f'{match[1]} x="{" ".join(places)}"{match[3]}{match[4]}{match[5]}{match[6]}'

    svg = re.sub(r"@font-face\s*\{[^}]*\}", "", svg)
    svg = svg.replace("font-family: Fira Code, monospace", f"font-family: {FONTS}")
    return _TEXT.sub(place, svg)
