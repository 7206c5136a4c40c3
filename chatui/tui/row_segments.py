"""Convert a row to segments with styles and selection."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from rich.segment import Segment
from rich.style import Style

from chatui.tui.wrapping import TAB_CELLS, Row


def row_segments(
    row: Row,
    style: Style,
    *,
    paragraph: int,
    selected: tuple[int, int] | None = None,
    selected_style: Style | None = None,
    style_of: Callable[[str], Style] = lambda name: Style(),
) -> list[Segment]:
    """Return the segments of one row.

    Args:
        style: style of the row without its spans.
        paragraph: number of the row's paragraph in the widget, the y of a selection.
        selected: selected part of the paragraph as (start, end); end -1 for the rest.
        selected_style: added to the style of the selected part.
        style_of: function from a style name of spans and prefixes to the style.
    """
    segments = [
        _segment(text, style + style_of(name), row.start, paragraph) for text, name in row.prefix
    ]
    cells = 0
    for start, end, is_selected, name in _parts(row, selected):
        shown = style + style_of(name) if name else style
        if is_selected and selected_style:
            shown += selected_style
        for index, piece in enumerate(row.text[start:end].split("\t")):
            if index:
                tab = TAB_CELLS - cells % TAB_CELLS
                segments.append(_segment(" " * tab, shown, row.start + start - 1, paragraph))
                cells += tab
            if piece:
                segment = _segment(piece, shown, row.start + start, paragraph)
                segments.append(segment)
                cells += segment.cell_length
            start += len(piece) + 1
    # A selection can also start in an empty row.
    return segments or [_segment(" ", style, row.start, paragraph)]


def _segment(text: str, style: Style, start: int, paragraph: int) -> Segment:
    return Segment(text, style + Style.from_meta({"offset": (start, paragraph)}))


def _parts(row: Row, selected: tuple[int, int] | None) -> list[tuple[int, int, bool, str]]:
    """Return the parts of a row as (start, end, is selected, style), with indices in the row."""
    length = len(row.text)
    first = last = length
    if selected is not None:
        first = min(max(selected[0] - row.start, 0), length)
        last = length if selected[1] == -1 else min(max(selected[1] - row.start, first), length)
    names: dict[int, str] = {0: ""}
    for span in row.spans:
        names[span.start] = span.style
        names.setdefault(span.end, "")
    parts: list[tuple[int, int, bool, str]] = []
    name = ""
    for start, end in pairwise(sorted({*names, first, last, length})):
        name = names.get(start, name)
        parts.append((start, end, first <= start < last, name))
    return parts
