"""A reply in a comparison, with its differences highlighted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from chatui.conversation.rounds import Round
from chatui.text_difference import Spans
from chatui.tui.widgets.round_layout import Viewport
from chatui.tui.widgets.round_list import RoundList
from chatui.tui.widgets.round_view import PartName, RoundPart, RoundView
from chatui.tui.wrapped_text import WrappedText, shown_text
from chatui.tui.wrapping import Row, Span, cut_spans, overlay_spans

_DIFFERS = "differs"
_ALL_ROWS = 1_000_000_000


class ReplyView(RoundView):
    """A round without its query and author."""

    def _part_texts(self) -> Iterator[tuple[PartName, WrappedText, int | None]]:
        return (part for part in super()._part_texts() if part[0] not in ("query", "author"))


class ComparedReply(RoundList):
    """Draws the whole reply of one round.

    Attributes:
        view: the reply's view.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"markup--{_DIFFERS}"}
    VIEW = ReplyView

    def __init__(self, round_: Round) -> None:
        super().__init__()
        self._differing: dict[int, tuple[Span, ...]] = {}
        self.add(round_, None)
        (self.view,) = self.views

    @property
    def answer(self) -> str:
        """The reply as shown, without folded parts."""
        return "\n".join(line for _, line in self._answer_lines())

    def highlight_differences(self, spans: Spans) -> None:
        """Highlight parts of :attr:`answer`."""
        self._differing, start = {}, 0
        for paragraph, line in self._answer_lines():
            end = start + len(line)
            found = cut_spans((Span(*span, _DIFFERS) for span in spans), start, end)
            if found:
                self._differing[paragraph] = found
            start = end + 1
        self.refresh()

    def _answer_lines(self) -> Iterator[tuple[int, str]]:
        for part in self.view.parts():
            if part.name == "reply":
                lines = shown_text(part.text.rows).split("\n")
                yield from enumerate(lines, part.paragraph)

    @property
    def _viewport(self) -> Viewport:
        # The column may be scrolled by its parent, so all rows count as visible.
        return Viewport(0, _ALL_ROWS)

    def _row(self, view: RoundView, part: RoundPart, number: int) -> Row:
        row = super()._row(view, part, number)
        differing = self._differing.get(part.paragraph + row.paragraph, ())
        over = cut_spans(differing, row.start, row.start + len(row.text))
        return replace(row, spans=overlay_spans(row.spans, over)) if over else row
