"""The highlights of a search in the rows of rounds."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from chatui.tui.widgets.round_view import RoundPart, RoundView
from chatui.tui.wrapping import Row, Span, overlay_spans


@dataclass
class MatchHighlights:
    """All matches of a pattern, one of which can be the current match.

    Attributes:
        pattern: what is highlighted; None highlights nothing.
        view: the round of the current match; None without one.
        index: index of the current match among the matches of its round.
    """

    pattern: re.Pattern[str] | None = None
    view: RoundView | None = None
    index: int = 0
    _row: tuple[object, int] = field(default=(None, 0), repr=False)

    @property
    def row(self) -> int:
        """The row of ``view`` where the current match begins; 0 if it is not shown."""
        view = self.view
        key = view and (view.shape, view.height)
        if view is not None and self._row[0] != key:
            rows = [
                part.top + number
                for part in view.parts()
                for number in range(len(part.text.rows))
                for span in self._spans(part, number)
                if span.style
            ]
            # Markdown syntax and folded thoughts hide some matches.
            self._row = key, rows[min(self.index, len(rows) - 1)] if rows else 0
        return self._row[1]

    def highlighted(self, view: RoundView, part: RoundPart, number: int) -> Row:
        """Return row ``number`` of a part with its matches highlighted."""
        row = part.text.rows[number]
        if not (found := self._spans(part, number)):
            return row
        is_current = view is self.view and part.top + number == self.row
        name = "found-here" if is_current else "found"
        spans = tuple(Span(start, end, name) for start, end, _ in found)
        return replace(row, spans=overlay_spans(row.spans, spans))

    def _spans(self, part: RoundPart, number: int) -> list[Span]:
        """Return the matches in a row.

        A match may continue in the next row: ``style`` is "found" where it begins, and "" in the
        row that it continues in.
        """
        if self.pattern is None or part.name in ("author", "note"):
            return []
        paragraph, rows = part.text.rows[number].paragraph, part.text.rows
        before, text, after = (
            "".join(row.text for row in rows[max(at, 0) : at + 1] if row.paragraph == paragraph)
            for at in (number - 1, number, number + 1)
        )
        start, end = len(before), len(before) + len(text)
        return [
            Span(max(a, start) - start, min(b, end) - start, "found" if a >= start else "")
            for a, b in (match.span() for match in self.pattern.finditer(before + text + after))
            if a < end and b > start
        ]
