"""The highlights of a search in the rows of rounds."""

from __future__ import annotations

import re
from dataclasses import replace

from chatui.tui.widgets.round_view import RoundPart, RoundView
from chatui.tui.wrapping import Row, Span, overlay_spans


class MatchHighlights:
    """All matches of a pattern, one of which can be the current match."""

    def __init__(
        self, pattern: re.Pattern[str] | None = None, current: tuple[RoundView, int] | None = None
    ) -> None:
        """
        Args:
            pattern: what is highlighted; None highlights nothing.
            current: a round, and the index of the current match among its matches.
        """
        self._pattern = pattern
        self._current = current
        self._current_row: tuple[object, int] = None, 0

    @property
    def current_view(self) -> RoundView | None:
        """The round of the current match."""
        return self._current[0] if self._pattern and self._current else None

    @property
    def current_row(self) -> tuple[RoundView, int] | None:
        """The round of the current match, and the row of the round where the match begins."""
        if self._pattern is None or self._current is None:
            return None
        view, index = self._current
        key = (view.shape, view.height)
        if self._current_row[0] != key:
            self._current_row = key, _match_row(self._pattern, view, index)
        return view, self._current_row[1]

    def highlighted(self, view: RoundView, part: RoundPart, number: int) -> Row:
        """Return row ``number`` of a part with its matches highlighted."""
        row = part.text.rows[number]
        spans = () if self._pattern is None else _match_spans(self._pattern, part, number)
        if not spans:
            return row
        is_current = (view, part.top + number) == self.current_row
        name = "found-here" if is_current else "found"
        spans = tuple(Span(start, end, name) for start, end, _ in spans)
        return replace(row, spans=overlay_spans(row.spans, spans))


def _match_spans(pattern: re.Pattern[str], part: RoundPart, number: int) -> tuple[Span, ...]:
    """Return the matches in a row.

    A match may continue in the next row: ``style`` is "found" where it begins, and "" in the row
    that it continues in.
    """
    if part.name not in ("query", "reply", "fold", "folded"):
        return ()
    rows = part.text.rows
    before, text, after = [
        rows[at].text
        if 0 <= at < len(rows) and rows[at].paragraph == rows[number].paragraph
        else ""
        for at in (number - 1, number, number + 1)
    ]
    start, end = len(before), len(before) + len(text)
    return tuple(
        Span(max(a, start) - start, min(b, end) - start, "found" if a >= start else "")
        for a, b in (match.span() for match in pattern.finditer(before + text + after))
        if a < end and b > start
    )


def _match_row(pattern: re.Pattern[str], view: RoundView, index: int) -> int:
    """Return the row of a round where match ``index`` begins; 0 if no match is shown."""
    rows = [
        part.top + number
        for part in view.parts()
        for number in range(len(part.text.rows))
        for span in _match_spans(pattern, part, number)
        if span.style
    ]
    # Markdown syntax and folded thoughts hide some matches.
    return rows[min(index, len(rows) - 1)] if rows else 0
