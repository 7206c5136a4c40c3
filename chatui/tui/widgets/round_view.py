"""One round on the screen: the query, who replied, the reply, and how it ended."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, TypeAlias

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region, Size
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.tui.model_names import shown_name
from chatui.tui.plain_text import plain_line, plain_text
from chatui.tui.widgets.text_rows import row_segments, selected_text
from chatui.tui.wrapping import WrappedText

SHOWN_QUERY_CHARACTERS = 4_000
SHOWN_REPLY_CHARACTERS = 50_000
"""A longer text is shown up to here when it is loaded; the store keeps all of it."""

PartName: TypeAlias = Literal["query", "author", "reply", "note"]


class _Place(NamedTuple):
    """Where a part stands: its first row on the screen, and its first paragraph."""

    name: PartName
    top: int
    paragraph: int


class RoundView(Widget):
    """Shows a round as one widget, so that hundreds can be mounted.

    While its reply streams, only the rows that changed are drawn.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "round-view--bar",
        "round-view--query",
        "round-view--author",
        "round-view--reply",
        "round-view--note",
        "round-view--error",
    }
    ALLOW_SELECT = True

    def __init__(self, round_: Round, version: int = 1, versions: int = 1) -> None:
        """
        Args:
            version: which of the ``versions`` with the same parent this is, from 1.
        """
        super().__init__()
        self.round = round_
        self._version = (version, versions)
        self._dropped_rounds = 0
        self._hidden = 0
        self._parts: dict[PartName, WrappedText] = {
            "query": WrappedText(self._cut(round_.query, SHOWN_QUERY_CHARACTERS)),
            "author": WrappedText(),
            "reply": WrappedText(self._cut(round_.reply, SHOWN_REPLY_CHARACTERS)),
            "note": WrappedText(),
        }
        self._say_author()
        self._say_note()

    @property
    def reply_text(self) -> str:
        """The reply as shown."""
        return self._parts["reply"].text

    def grow(self, text: str) -> None:
        """The reply goes on."""
        reply = self._parts["reply"]
        if not reply.text_began:
            self._parts["note"] = WrappedText("", self._parts["note"].width)
            self.refresh(layout=True)
        height = len(reply.rows)
        first = reply.append(plain_text(text))
        if len(reply.rows) != height:
            self.refresh(layout=True)
        else:
            top = next(place.top for place in self._places() if place.name == "reply")
            self.refresh(Region(0, top + first, self.size.width, height - first))

    def end(self, round_: Round) -> None:
        """The reply has ended."""
        if plain_text(round_.reply) != self.reply_text:
            self._parts["reply"] = WrappedText(
                self._cut(round_.reply, SHOWN_REPLY_CHARACTERS), self._parts["reply"].width
            )
        self.round = round_
        self._say_author()
        self._say_note()
        self.refresh(layout=True)

    def set_dropped_rounds(self, count: int) -> None:
        """Say that the oldest ``count`` rounds did not fit into what the model read."""
        self._dropped_rounds = count
        self._say_note()
        self.refresh(layout=True)

    def _cut(self, text: str, limit: int) -> str:
        self._hidden += max(0, len(text) - limit)
        return plain_text(text[:limit])

    def _say_author(self) -> None:
        version, versions = self._version
        words = plain_line(shown_name(self.round.model))
        if versions > 1:
            words += "  " + say("tui.round.version", version=version, versions=versions)
        self._parts["author"] = WrappedText(words, self._parts["author"].width)

    def _say_note(self) -> None:
        words = [state_in_words(self.round, bool(self.reply_text))]
        if self._hidden:
            words.append(say("tui.round.hidden", count=f"{self._hidden:,}"))
        if self._dropped_rounds:
            words.append(say("tui.round.dropped", count=self._dropped_rounds))
        self._parts["note"] = WrappedText("\n".join(filter(None, words)), self._parts["note"].width)

    # Layout and drawing

    @property
    def _margin(self) -> int:
        """Cells left of the text; none where the terminal is short, and probably narrow."""
        return 0 if self.screen.has_class("-short") else 2

    def _places(self) -> list[_Place]:
        """The parts that are shown, from top to bottom."""
        gap = 1 if self._margin else 0
        places: list[_Place] = []
        top = paragraph = 0
        for name, part in self._parts.items():
            if not part.text_began:
                continue
            top += gap if name == "author" else 0
            places.append(_Place(name, top, paragraph))
            top += len(part.rows)
            paragraph += part.rows[-1].paragraph + 1
        return places

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        text_width = width - self._margin - (1 if self._margin else 0)
        for part in self._parts.values():
            if part.width != max(1, text_width):
                part.rewrap(text_width)
        last = self._places()[-1]
        return last.top + len(self._parts[last.name].rows)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        for place in reversed(self._places()):
            rows = self._parts[place.name].rows
            if place.top <= y < place.top + len(rows):
                return self._render_row(place, y - place.top, width)
        return Strip.blank(width, self.rich_style)

    def _render_row(self, place: _Place, index: int, width: int) -> Strip:
        row = self._parts[place.name].rows[index]
        style = self._style(place.name)
        paragraph = place.paragraph + row.paragraph
        selection = self.text_selection
        segments = row_segments(
            row,
            style,
            paragraph=paragraph,
            selected=None if selection is None else selection.get_span(paragraph),
            selected_style=self.screen.get_component_rich_style("screen--selection"),
        )
        if self._margin:
            bar = self.get_component_rich_style("round-view--bar")
            margin = Segment("▌ ", bar) if place.name == "query" else Segment("  ", style)
            segments.insert(0, margin)
        return Strip(segments).adjust_cell_length(width, style)

    def _style(self, name: PartName) -> Style:
        if name == "note" and self.round.state == "failed":
            return self.get_component_rich_style("round-view--error")
        return self.get_component_rich_style(f"round-view--{name}")

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        parts = [self._parts[place.name].text for place in self._places()]
        return selected_text("\n".join(parts), selection)


def state_in_words(round_: Round, has_reply: bool) -> str:
    """How a round stands; "" where there is nothing to say."""
    if round_.state == "streaming":
        return "" if has_reply else say("tui.round.reading")
    if round_.state == "failed":
        return say("tui.round.failed", reason=plain_line(round_.error or "", 1000))
    if round_.state in ("stopped", "interrupted"):
        return say(f"tui.round.{round_.state}")
    if not round_.reply.strip():
        return say("tui.round.empty")
    return say("tui.round.length") if round_.finish_reason == "length" else ""
