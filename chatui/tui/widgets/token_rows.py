"""A reply as tokens, coloured by probability."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import ClassVar

from rich.cells import split_graphemes
from rich.style import Style
from textual.events import Click
from textual.message import Message

from chatui.conversation.rounds import Piece
from chatui.readable import probability_step
from chatui.text import plain_text
from chatui.tui.widgets.prose import Prose
from chatui.tui.wrapping import Row, Span

PROBABILITY_STYLES = ("", "less-likely", "unlikely", "rare")
"""Style names of tokens, indexed by :func:`chatui.readable.probability_step`."""


class TokenRows(Prose):
    """Draws tokens; a token without text (half a character, the end token) is a dot."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"tokens--{name}" for name in PROBABILITY_STYLES[1:]),
        "tokens--chosen",
    }

    @dataclass
    class Clicked(Message):
        """The user clicked a token.

        Attributes:
            index: its index in the reply.
        """

        index: int

    def __init__(self, *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._first = 0
        self._starts: list[int] = []
        self._styles: list[str] = []
        self._paragraphs = [0]

    def show(self, pieces: Sequence[Piece], first: int, chosen: int | None) -> None:
        """Show the pieces from index ``first`` on.

        Args:
            chosen: index of the selected token.
        """
        shown = pieces[first:]
        texts = ["…" if first else ""]
        texts += [plain_text(piece.text).replace("\n", "⏎\n") or "·" for piece in shown]
        self._first = first
        *self._starts, _ = accumulate(map(len, texts))
        self._styles = [PROBABILITY_STYLES[probability_step(piece.logprob)] for piece in shown]
        if chosen is not None and chosen >= first:
            self._styles[chosen - first] = "chosen"
        self.set_text("".join(texts))
        # The selected token may change without the text.
        self.refresh()
        self._paragraphs = [0, *accumulate(len(line) + 1 for line in self.text.split("\n"))]
        self.display = bool(self.text)

    def token_at(self, x: int, y: int) -> int | None:
        """Return the index of the token at a cell; None if there is none."""
        if y >= len(self.all_rows):
            return None
        row = self.all_rows[y]
        cells = 0
        for start, _, size in split_graphemes(row.text)[0]:
            cells += size
            if x < cells:
                at = self._paragraphs[row.paragraph] + row.start + start
                place = bisect_right(self._starts, at)
                return self._first + place - 1 if place else None
        return None

    def row_of(self, index: int) -> int:
        """Return the row where a token begins; 0 for a token before the shown ones."""
        if index < self._first:
            return 0
        starts = [self._paragraphs[row.paragraph] + row.start for row in self.all_rows]
        return bisect_right(starts, self._starts[index - self._first]) - 1

    def on_click(self, event: Click) -> None:
        if (index := self.token_at(event.x, event.y)) is not None:
            event.stop()
            self.post_message(self.Clicked(index))

    def _row(self, y: int) -> Row:
        """Return a row with the styles of its tokens."""
        row = super()._row(y)
        start = self._paragraphs[row.paragraph] + row.start
        end = start + len(row.text)
        first, stop = bisect_right(self._starts, start), bisect_right(self._starts, end - 1)
        edges = [start, *self._starts[first:stop], end]
        spans = []
        for number, token in enumerate(range(first - 1, stop)):
            name = self._styles[token] if token >= 0 else ""
            if name:
                spans.append(Span(edges[number] - start, edges[number + 1] - start, name))
        return replace(row, spans=tuple(spans))

    def _style_of(self, name: str) -> Style:
        own = self.get_component_rich_style(f"tokens--{name}")
        shown = {name: getattr(own, name) or None for name in ("bold", "underline", "reverse")}
        return Style(bgcolor=own.bgcolor, **shown)
