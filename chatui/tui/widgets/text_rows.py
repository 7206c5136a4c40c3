"""Rows of wrapped text as segments that know which characters they show."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Offset
from textual.selection import Selection

from chatui.tui.wrapping import TAB_CELLS, Row


def row_segments(
    row: Row,
    style: Style,
    *,
    paragraph: int,
    selected: tuple[int, int] | None = None,
    selected_style: Style | None = None,
) -> list[Segment]:
    """The segments of one row.

    Args:
        paragraph: the row's paragraph, counted in the whole widget: what a selection calls y.
        selected: the selected part of the paragraph as (start, end), end -1 for all of the rest.
        selected_style: laid over ``style`` there.
    """
    segments: list[Segment] = []
    cells = 0
    for start, end, is_selected in _spans(row, selected):
        shown = style + selected_style if is_selected and selected_style else style
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
    # An empty row can be the start of a selection too.
    return segments or [_segment(" ", style, row.start, paragraph)]


def selected_text(text: str, selection: Selection) -> tuple[str, str] | None:
    """What ``Widget.get_selection`` gives for a text of paragraphs."""
    lines = text.split("\n")
    start = selection.start or Offset(0, 0)
    end = selection.end or Offset(len(lines[-1]), len(lines) - 1)
    chosen = lines[start.y : end.y + 1]
    if not chosen:
        return None
    if end.y < len(lines):
        chosen[-1] = chosen[-1][: end.x]
    chosen[0] = chosen[0][start.x :]
    return "\n".join(chosen), "\n"


def _segment(text: str, style: Style, start: int, paragraph: int) -> Segment:
    return Segment(text, style + Style.from_meta({"offset": (start, paragraph)}))


def _spans(row: Row, selected: tuple[int, int] | None) -> list[tuple[int, int, bool]]:
    """The parts of a row as (start, end, is selected), indices within the row."""
    length = len(row.text)
    if selected is None:
        return [(0, length, False)]
    first = min(max(selected[0] - row.start, 0), length)
    last = length if selected[1] == -1 else min(max(selected[1] - row.start, first), length)
    parts = [(0, first, False), (first, last, True), (last, length, False)]
    return [part for part in parts if part[1] > part[0]]
