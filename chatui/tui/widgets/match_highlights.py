"""What was looked for, where it stands in the rows of a round."""

from __future__ import annotations

import re

from chatui.tui.widgets.round_view import PartPosition, RoundView
from chatui.tui.wrapping import Span


def match_spans(pattern: re.Pattern[str], place: PartPosition, number: int) -> tuple[Span, ...]:
    """What is found in a row; ``style`` is "" for the rest of what began in the row before."""
    if place.name not in ("query", "reply", "fold", "folded"):
        return ()
    rows = place.text.rows
    near = [
        rows[at].text
        if 0 <= at < len(rows) and rows[at].paragraph == rows[number].paragraph
        else ""
        for at in (number - 1, number, number + 1)
    ]
    start, end = len(near[0]), len(near[0]) + len(near[1])
    return tuple(
        Span(max(a, start) - start, min(b, end) - start, "found" if a >= start else "")
        for a, b in (match.span() for match in pattern.finditer("".join(near)))
        if a < end and b > start
    )


def match_row(pattern: re.Pattern[str], view: RoundView, index: int) -> int:
    """The row of a round where the ``index``-th place begins; 0 if none is shown."""
    rows = [
        place.top + number
        for place in view.part_positions()
        for number in range(len(place.text.rows))
        for span in match_spans(pattern, place, number)
        if span.style
    ]
    # In Markdown, and where thoughts are folded, not all that is found is shown.
    return rows[min(index, len(rows) - 1)] if rows else 0
