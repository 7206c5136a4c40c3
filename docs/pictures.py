"""Still and animated SVG pictures of the app with characters as wide as on a terminal.

Rich's export measures text in characters instead of cells and compresses hanzi to half their width;
here each character is placed in its cell.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from itertools import groupby

from rich.cells import split_graphemes

CELL = 12.2
"""Width of a cell in Rich's export."""

FONTS = "Menlo, 'DejaVu Sans Mono', 'Sarasa Mono SC', 'Noto Sans Mono CJK SC', monospace"

_TEXT = re.compile(r'(<text[^>]*) x="([\d.]+)"([^>]*) textLength="[\d.]+"([^>]*>)([^<]*)(</text>)')


def in_cells(svg: str) -> str:
    """Return the picture with every character placed in its cell."""

    def place(match: re.Match[str]) -> str:
        text = html.unescape(match[5])
        x = float(match[2])
        places = []
        for start, end, cells in split_graphemes(text)[0]:
            # SVG needs a position for each UTF-16 unit; units of a grapheme share one.
            units = len(text[start:end].encode("utf-16-le")) // 2
            places += [f"{x:.1f}"] * units
            x += cells * CELL
        return f'{match[1]} x="{" ".join(places)}"{match[3]}{match[4]}{match[5]}{match[6]}'

    svg = re.sub(r"@font-face\s*\{[^}]*\}", "", svg)
    svg = svg.replace("font-family: Fira Code, monospace", f"font-family: {FONTS}")
    return _TEXT.sub(place, svg)


_RULE = re.compile(r"\.(terminal-\d+-r\d+) \{ ([^}]*) \}")
_PART = re.compile(r'<(rect|text)[^>]* y="([\d.]+)"[^>]*>(?:[^<]*</text>)?')
_RECT = re.compile(r'<rect fill="([^"]*)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"')
_ROW = 24.4
"""Height of a row in Rich's export."""


def animated(frames: Sequence[tuple[float, str]]) -> str:
    """Return an SVG animation of frames, (seconds, SVG) of the same size, repeated forever.

    Rows that occur in several frames are stored once.
    """
    classes: dict[str, str] = {}
    rows: dict[str, str] = {}
    total = sum(seconds for seconds, _ in frames)
    rules, shown, begun = [], [], 0.0
    for number, (seconds, svg) in enumerate(frames):
        names = {
            name: classes.setdefault(rule, f"c{len(classes)}") for name, rule in _RULE.findall(svg)
        }
        uses = (rows.setdefault(row, f"r{len(rows)}") for row in _rows(svg, names))
        parts = "".join(f'<use href="#{name}"/>' for name in uses)
        shown.append(f'<g class="f{number}" visibility="hidden">{parts}</g>')
        start, end = 100 * begun / total, 100 * (begun + seconds) / total
        begun += seconds
        rules.append(
            f"@keyframes k{number} {{ 0% {{ visibility: hidden }} {start:.2f}% {{ visibility:"
            f" visible }} {end:.2f}% {{ visibility: hidden }} }}\n"
            f".f{number} {{ animation: k{number} {total:.1f}s step-end infinite }}"
        )
    rules += [f".{name} {{ {rule} }}" for rule, name in classes.items()]
    # The window frame is the same in every picture.
    before, _, rest = frames[0][1].partition("</defs>")
    window = rest.partition('<g transform="translate(9, 41)"')[0]
    before = before.replace("</style>", "\n".join((*rules, "</style>")), 1).partition("<defs>")[0]
    defined = "\n".join(f'<g id="{name}">{row}</g>' for row, name in rows.items())
    matrix = re.search(r"terminal-\d+-matrix", before)
    return (
        f'{before}<defs>{defined}</defs>{window}<g transform="translate(9, 41)"'
        f' class="{matrix[0] if matrix else ""}">\n' + "\n".join(shown) + "\n</g>\n</svg>\n"
    )


def _rows(svg: str, names: dict[str, str]) -> list[str]:
    """Return the drawing of each row, with rectangles of one colour merged."""
    drawn = svg.partition('<g transform="translate(9, 41)"')[2]
    parts = [(int(float(each[2]) // _ROW), each[0]) for each in _PART.finditer(drawn)]
    found: dict[int, list[str]] = {}
    for (row, fill), group in groupby(parts, key=lambda part: (part[0], _fill(part[1]))):
        texts = [text for _, text in group]
        if fill:
            spans = [match for text in texts if (match := _RECT.match(text))]
            width = sum(float(match[4]) for match in spans)
            texts = [
                f'<rect fill="{fill}" x="{spans[0][2]}" y="{spans[0][3]}" width="{width:.1f}"'
                ' height="24.65" shape-rendering="crispEdges"/>'
            ]
        found.setdefault(row, []).extend(texts)
    bodies = ("".join(row) for row in found.values())
    plain = (re.sub(r' clip-path="[^"]*"', "", body) for body in bodies)
    return [re.sub(r"terminal-\d+-r\d+", lambda match: names[match[0]], row) for row in plain]


def _fill(part: str) -> str:
    match = _RECT.match(part)
    return match[1] if match else ""
