"""A reply beside others, with what it has otherwise than they."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from chatui.conversation.rounds import Round
from chatui.text_difference import Spans
from chatui.tui.widgets.round_view import PartName, Place, RoundView
from chatui.tui.wrapping import Row, Span, WrappedText, cut_spans, shown_text

if TYPE_CHECKING:
    from chatui.tui.markdown.markdown_text import MarkdownText

_DIFFERS = "differs"


class ComparedReply(RoundView):
    """The reply of a round without its query."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"markup--{_DIFFERS}"}

    def __init__(self, round_: Round, *, is_markdown: bool | None = None) -> None:
        super().__init__(round_, is_markdown=is_markdown)
        self._differing: dict[int, tuple[Span, ...]] = {}

    @property
    def answer(self) -> str:
        """The reply as it is shown, without what is folded."""
        return "\n".join(line for _, line in self._answer_lines())

    def mark(self, spans: Spans) -> None:
        """Mark parts of :attr:`answer`."""
        self._differing, start = {}, 0
        for paragraph, line in self._answer_lines():
            end = start + len(line)
            found = cut_spans((Span(*span, _DIFFERS) for span in spans), start, end)
            if found:
                self._differing[paragraph] = found
            start = end + 1
        self.refresh()

    def _answer_lines(self) -> Iterator[tuple[int, str]]:
        for place in self._places():
            if place.name == "reply":
                lines = shown_text(place.text.rows).split("\n")
                yield from enumerate(lines, place.paragraph)

    def _parts(self) -> Iterator[tuple[PartName, WrappedText | MarkdownText, int | None]]:
        return (part for part in super()._parts() if part[0] not in ("query", "author"))

    def _row(self, place: Place, index: int) -> Row:
        row = super()._row(place, index)
        differing = self._differing.get(place.paragraph + row.paragraph, ())
        over = cut_spans(differing, row.start, row.start + len(row.text))
        return replace(row, spans=laid_over(row.spans, over)) if over else row


def laid_over(spans: tuple[Span, ...], over: tuple[Span, ...]) -> tuple[Span, ...]:
    """Spans with others over them: where both are, the part has the styles of both."""
    edges = sorted({edge for span in (*spans, *over) for edge in (span.start, span.end)})
    found = []
    for start, end in pairwise(edges):
        names = [each.style for each in (*spans, *over) if each.start <= start and end <= each.end]
        if names:
            found.append(Span(start, end, " ".join(names)))
    return tuple(found)
