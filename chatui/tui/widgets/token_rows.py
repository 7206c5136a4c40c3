"""A reply as tokens, coloured by probability."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from operator import attrgetter
from typing import ClassVar

from rich.cells import split_graphemes
from rich.style import Style

from chatui.conversation.rounds import Piece
from chatui.readable import probability_step
from chatui.text import plain_text
from chatui.tui.widgets.prose import Prose
from chatui.tui.wrapping import Row, Span, cut_spans

PROBABILITY_STYLES = ("", "less-likely", "unlikely", "rare")
"""Style names of tokens, indexed by :func:`chatui.readable.probability_step`."""

_START = attrgetter("start")


class TokenRows(Prose):
    """Draws tokens; a token without text (half a character, the end token) is a dot."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"tokens--{name}" for name in PROBABILITY_STYLES[1:]),
        "tokens--chosen",
    }

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._first = 0
        self._tokens: list[Span] = []
        self._paragraphs = [0]

    def show(self, pieces: Sequence[Piece], first: int, chosen: int | None) -> None:
        """Show the pieces from index ``first`` on.

        Args:
            chosen: index of the selected token.
        """
        texts = ["…" if first else ""]
        self._first, self._tokens, end = first, [], len(texts[0])
        for index, piece in enumerate(pieces[first:], first):
            texts.append(plain_text(piece.text).replace("\n", "⏎\n") or "·")
            start, end = end, end + len(texts[-1])
            step = PROBABILITY_STYLES[probability_step(piece.logprob)]
            self._tokens.append(Span(start, end, "chosen" if index == chosen else step))
        self.set_text("".join(texts))
        # The selected token may change without the text.
        self.refresh()
        self._paragraphs = [0, *accumulate(len(line) + 1 for line in self.text.split("\n"))]
        self.display = bool(self.text)

    def _start_of(self, row: Row) -> int:
        """Return the index in the whole text at which a row begins."""
        return self._paragraphs[row.paragraph] + row.start

    def token_at(self, x: int, y: int) -> int | None:
        """Return the index of the token at a cell; None if there is none."""
        row = self.all_rows[y] if y < len(self.all_rows) else None
        cells = 0
        for start, _, size in split_graphemes(row.text)[0] if row else ():
            cells += size
            if row and x < cells:
                place = bisect_right(self._tokens, self._start_of(row) + start, key=_START)
                return self._first + place - 1 if place else None
        return None

    def row_of(self, index: int) -> int:
        """Return the row where a token begins; 0 for a token before the shown ones."""
        if index < self._first:
            return 0
        starts = list(map(self._start_of, self.all_rows))
        return bisect_right(starts, self._tokens[index - self._first].start) - 1

    def _row(self, y: int) -> Row:
        """Return a row with the styles of its tokens."""
        row = super()._row(y)
        start = self._start_of(row)
        end = start + len(row.text)
        first = bisect_right(self._tokens, start, key=_START) - 1
        last = bisect_left(self._tokens, end, key=_START)
        styled = (token for token in self._tokens[max(0, first) : last] if token.style)
        return replace(row, spans=cut_spans(styled, start, end))

    def _style_of(self, name: str) -> Style:
        own = self.get_component_rich_style(f"tokens--{name}")
        shown = {name: getattr(own, name) or None for name in ("bold", "underline", "reverse")}
        return Style(bgcolor=own.bgcolor, **shown)
