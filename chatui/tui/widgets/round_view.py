"""One round on the screen: the query, who replied, the reply, and how it ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, TypeAlias

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.events import Click
from textual.geometry import Offset, Region, Size
from textual.message import Message
from textual.selection import Selection
from textual.strip import Strip
from textual.widget import Widget

from chatui.conversation.rounds import Rating, Round
from chatui.locales import say
from chatui.prompting.parts import answer_of, read_again
from chatui.text import one_line, plain_text
from chatui.tui.model_names import shown_name, writes_markdown
from chatui.tui.reply_blocks import BlockName, ReplyBlocks
from chatui.tui.wrapping import Row, Span, WrappedText, laid_over, row_segments

if TYPE_CHECKING:
    from chatui.tui.markdown.markdown_text import MarkdownText

SHOWN_QUERY_CHARACTERS = 4_000
SHOWN_REPLY_CHARACTERS = 50_000
"""A longer text is shown up to here when it is loaded; the store keeps all of it."""

MARKUP = (
    *(f"heading{level}" for level in (1, 2, 3)),
    *("strong", "emphasis", "struck", "link", "target", "code", "code-head", "formula", "marker"),
    *("rule", "quote", "quote-bar", "table-head"),
    *("comment", "string", "number", "keyword", "name"),
    *("found", "found-here"),
)
"""What looks different in Markdown; the stylesheet says how."""

PartName: TypeAlias = BlockName | Literal["query", "author", "note"]


class Place(NamedTuple):
    """Where a part stands: its first row on the screen, and its first paragraph.

    Attributes:
        fold: which part of the reply it is, where a click opens or folds it; else None.
    """

    name: PartName
    text: WrappedText | MarkdownText
    top: int
    paragraph: int
    fold: int | None


class RoundView(Widget):
    """Shows a round as one widget, so that hundreds can be mounted.

    While its reply streams, only the rows that changed are drawn.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "round-view--bar",
        "round-view--query",
        "round-view--author",
        "round-view--reply",
        "round-view--fold",
        "round-view--folded",
        "round-view--note",
        "round-view--mark",
        "round-view--error",
        *(f"markup--{name}" for name in MARKUP),
    }
    ALLOW_SELECT = True

    @dataclass
    class CodeClicked(Message):
        """The user clicked the head of a block of code."""

        code: str

    @dataclass
    class Rated(Message):
        """The user clicked a mark that rates the reply."""

        round: Round
        rating: Rating

    def __init__(self, round_: Round, *, is_markdown: bool | None = None) -> None:
        """
        Args:
            is_markdown: whether the reply is shown as Markdown; None leaves it to the preset.
        """
        super().__init__()
        self.round = round_
        self._dropped_rounds = 0
        self._found: re.Pattern[str] | None = None
        self._found_index: int | None = None
        self._marked_row: int | None = None
        self._query = WrappedText(plain_text(round_.query[:SHOWN_QUERY_CHARACTERS]))
        self._author = WrappedText()
        self._reply = ReplyBlocks(
            round_.reply,
            SHOWN_REPLY_CHARACTERS,
            is_whole=round_.state == "done",
            is_markdown=writes_markdown(round_.model) if is_markdown is None else is_markdown,
        )
        self._note = WrappedText()
        self._say_author()
        self._say_note()

    @property
    def reply_text(self) -> str:
        """The reply as shown."""
        return self._reply.text

    @property
    def is_markdown(self) -> bool:
        """Whether the reply is shown as Markdown, and not as it was written."""
        return self._reply.is_markdown

    def show_markdown(self, is_markdown: bool | None) -> None:
        """Show the reply as Markdown, or as it was written; None as the preset says."""
        if is_markdown is None:
            is_markdown = writes_markdown(self.round.model)
        if is_markdown != self._reply.is_markdown:
            self._reply.is_markdown = is_markdown
            self._reply.set_text(self._reply.raw, is_whole=self.round.state == "done")
            self._say_note()
            self.refresh(layout=True)

    @property
    def has_folds(self) -> bool:
        """Whether the reply has parts that are folded away."""
        return self._reply.has_folds

    @dataclass
    class Unread(Message):
        """A long reply is shown in part; :meth:`read_on` shows more."""

        view: RoundView

    @property
    def _unread(self) -> MarkdownText | None:
        texts = (block.text for block in self._reply.blocks)
        found = (text for text in texts if not isinstance(text, WrappedText) and text.has_unread)
        return next(found, None)

    def read_on(self) -> None:
        """Show more of a long reply."""
        unread = self._unread
        if unread is not None:
            unread.read_on()
            self.refresh(layout=True)

    @property
    def last_code(self) -> str:
        """The last block of code of the reply; "" without one."""
        from chatui.tui.markdown.markdown_text import MarkdownText

        return MarkdownText(answer_of(self._reply.raw)).last_code

    def toggle_folds(self) -> None:
        """Open what is folded away, or fold it again."""
        self._reply.toggle_all()
        self.refresh(layout=True)

    def grow(self, text: str) -> None:
        """The reply goes on."""
        had_begun, height = self._reply.began, self._reply.height
        first = self._reply.append(text)
        if not had_begun:
            self._say_note()
        if not had_begun or self._reply.height != height:
            self.refresh(layout=True)
        elif first is None:
            self.refresh()
        else:
            top = next((place.top for place in self._places() if place.name == "reply"), 0)
            self.refresh(Region(0, top + first, self.size.width, height - first))

    def end(self, round_: Round) -> None:
        """The reply has ended, or was rated since."""
        self._reply.end(round_.reply, is_whole=round_.state == "done")
        self.round = round_
        self._say_author()
        self._say_note()
        self.refresh(layout=True)

    def set_dropped_rounds(self, count: int) -> None:
        """Say that the oldest ``count`` rounds did not fit into what the model read."""
        self._dropped_rounds = count
        self._say_note()
        self.refresh(layout=True)

    def _say_author(self) -> None:
        words = one_line(shown_name(self.round.model)) or say("conversation.export.reply")
        if self.round.versions > 1:
            version, versions = self.round.version, self.round.versions
            words += "  " + say("tui.round.version", version=version, versions=versions)
        self._author = WrappedText(words, self._author.width)

    def _say_note(self) -> None:
        edited = say("tui.round.edited") if self.round.sampling.get("edited") else ""
        words = [edited, state_in_words(self.round, self._reply.began), why_not_read(self.round)]
        words += opinion_in_words(self.round)
        hidden = max(0, len(self.round.query) - SHOWN_QUERY_CHARACTERS) + self._reply.hidden
        if hidden:
            words.append(say("tui.round.hidden", count=f"{hidden:,}"))
        if self._dropped_rounds:
            words.append(say("tui.round.dropped", count=self._dropped_rounds))
        self._note = WrappedText("\n".join(filter(None, words)), self._note.width)

    # Layout and drawing

    @property
    def _margin(self) -> int:
        """Cells left of the text; none where the terminal is short, and probably narrow."""
        return 0 if self.screen.has_class("-short") else 2

    def _parts(self) -> Iterator[tuple[PartName, WrappedText | MarkdownText, int | None]]:
        """All parts with their rows, and which part of the reply a click folds."""
        yield "query", self._query, None
        yield "author", self._author, None
        for block in self._reply.blocks:
            yield block.name, block.text, block.part if block.name == "fold" else None
        yield "note", self._note, None

    def _places(self) -> list[Place]:
        """The parts that are shown, from top to bottom."""
        gap = 1 if self._margin else 0
        places: list[Place] = []
        top = paragraph = 0
        for name, text, fold in self._parts():
            if not text.text_began:
                continue
            top += gap if name == "author" else 0
            places.append(Place(name, text, top, paragraph, fold))
            top += len(text.rows)
            paragraph += text.rows[-1].paragraph + 1
        return places

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        self._marked_row = None
        text_width = width - self._margin - (1 if self._margin else 0)
        for _, text, _ in self._parts():
            if text.width != max(1, text_width):
                text.rewrap(text_width)
        if self._unread is not None:
            self.post_message(self.Unread(self))
        last = self._places()[-1]
        return last.top + len(last.text.rows)

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        place = self._place_at(y)
        if place is None:
            return Strip.blank(width, self.rich_style)
        return self._render_row(place, y - place.top, width)

    def _place_at(self, y: int) -> Place | None:
        for place in reversed(self._places()):
            if place.top <= y < place.top + len(place.text.rows):
                return place
        return None

    def on_click(self, event: Click) -> None:
        place = self._place_at(event.y)
        if place is None:
            return
        # The marks stand in the last cells, three for each.
        from_end = self.size.width - 1 - event.x
        if place.name == "author" and from_end < 6 and self._mark(place, event.y - place.top):
            event.stop()
            self.post_message(self.Rated(self.round, 1 if from_end >= 3 else -1))
        elif place.fold is not None:
            event.stop()
            self._reply.toggle(place.fold)
            self.refresh(layout=True)
        elif not isinstance(place.text, WrappedText):
            row = place.text.rows[event.y - place.top]
            if row.style == "code-head":
                event.stop()
                self.post_message(self.CodeClicked(place.text.code_at(row.paragraph)))

    def mark_found(self, pattern: re.Pattern[str] | None, index: int | None = None) -> None:
        """Mark what is found, most clearly the ``index``-th place; None marks nothing."""
        if (pattern, index) != (self._found, self._found_index):
            self._found, self._found_index = pattern, index
            self._marked_row = None
            self.refresh()

    @property
    def marked_row(self) -> int:
        """The row of the place that is marked most clearly; 0 without one."""
        if self._marked_row is None:
            rows = [
                place.top + row
                for place in self._places()
                for row in range(len(place.text.rows))
                for span in self._found_in(place, row)
                if span.style
            ]
            # In Markdown, and where thoughts are folded, not all that is found is shown.
            self._marked_row = rows[min(self._found_index or 0, len(rows) - 1)] if rows else 0
        return self._marked_row

    def _found_in(self, place: Place, index: int) -> tuple[Span, ...]:
        """What is found in a row; ``style`` is "" for the rest of what began in the row before."""
        if self._found is None or place.name not in ("query", "reply", "fold", "folded"):
            return ()
        rows = place.text.rows
        near = [
            rows[at].text if 0 <= at < len(rows) and is_same else ""
            for at in (index - 1, index, index + 1)
            for is_same in [0 <= at < len(rows) and rows[at].paragraph == rows[index].paragraph]
        ]
        start, end = len(near[0]), len(near[0]) + len(near[1])
        return tuple(
            Span(max(a, start) - start, min(b, end) - start, "found" if a >= start else "")
            for a, b in (match.span() for match in self._found.finditer("".join(near)))
            if a < end and b > start
        )

    def _row(self, place: Place, index: int) -> Row:
        row = place.text.rows[index]
        found = self._found_in(place, index)
        if not found:
            return row
        is_here = self._found_index is not None and place.top + index == self.marked_row
        name = "found-here" if is_here else "found"
        spans = [Span(start, end, name) for start, end, _ in found]
        return replace(row, spans=laid_over(row.spans, spans))

    def _render_row(self, place: Place, index: int, width: int) -> Strip:
        row = self._row(place, index)
        style = self._style(place.name)
        paragraph = place.paragraph + row.paragraph
        selection = self.text_selection
        if row.style:
            style += self._markup(row.style)
        segments = row_segments(
            row,
            style,
            paragraph=paragraph,
            selected=None if selection is None else selection.get_span(paragraph),
            selected_style=self.screen.get_component_rich_style("screen--selection"),
            style_of=self._markup,
        )
        if self._margin:
            bar = self.get_component_rich_style("round-view--bar")
            plain = self._style(place.name)
            margin = Segment("▌ ", bar) if place.name == "query" else Segment("  ", plain)
            segments.insert(0, margin)
        strip = Strip(segments).adjust_cell_length(width, style)
        if mark := self._mark(place, index):
            muted = self.get_component_rich_style("round-view--mark")
            marked = Segment(mark, style + self._markup("link") if row.style else muted)
            strip = Strip.join([strip.crop(0, width - marked.cell_length), Strip([marked])])
        return strip

    def _mark(self, place: Place, index: int) -> str:
        """What can be clicked at the right end of a row, if there is room; else ""."""
        row = place.text.rows[index]
        if row.style == "code-head":
            mark = say("tui.round.copy_code") + " "
        elif place.name == "author" and index == 0 and self.round.state != "streaming":
            mark = " +  - "
        else:
            return ""
        has_room = self._margin + cell_len(row.text) + cell_len(mark) < self.size.width
        return mark if has_room else ""

    def _style(self, name: PartName) -> Style:
        if name == "note" and self.round.state == "failed":
            return self.get_component_rich_style("round-view--error")
        return self.get_component_rich_style(f"round-view--{name}")

    def _markup(self, names: str) -> Style:
        """How parts of Markdown look that have these names."""
        look = Style()
        for name in names.split():
            own = self.get_component_rich_style(f"markup--{name}", partial=True)
            if own.color is not None:
                # A muted colour is a transparent one, which the whole style has blended.
                own += Style(color=self.get_component_rich_style(f"markup--{name}").color)
            look += own
        return look

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        if selection.start is None and selection.end is None:
            # All of it: the reply exactly as it was written, folded or not.
            texts = (self.round.query, self._author.text, self._reply.raw, self._note.text)
            return "\n".join(filter(None, texts)), "\n"
        chosen: list[str] = []
        for place in self._places():
            first, rows = place.paragraph, place.text.rows
            start = Offset(0, 0) if selection.start is None else selection.start - (0, first)
            last = Offset(len(rows[-1].text) + rows[-1].start, rows[-1].paragraph)
            end = last if selection.end is None else selection.end - (0, first)
            if start.y <= last.y and end.y >= 0:
                start = Offset(0, 0) if start.y < 0 else start
                chosen.append(
                    place.text.selected(Selection(start, last if end.y > last.y else end))
                )
        return ("\n".join(chosen), "\n") if chosen else None


def state_in_words(round_: Round, has_reply: bool) -> str:
    """How a round stands; "" where there is nothing to say."""
    if round_.state == "streaming":
        return "" if has_reply else say("tui.round.reading")
    if round_.state == "failed":
        return say("tui.round.failed", reason=one_line(round_.error or "", 1000))
    if round_.state in ("stopped", "interrupted"):
        return say(f"tui.round.{round_.state}")
    if round_.finish_reason in ("length", "filter"):
        return say(f"tui.round.{round_.finish_reason}")
    return ""


def opinion_in_words(round_: Round) -> list[str]:
    """The user's rating and note of a reply."""
    rating = {1: say("tui.round.good"), -1: say("tui.round.bad"), 0: ""}[round_.rating]
    note = plain_text(round_.note[:SHOWN_QUERY_CHARACTERS])
    return [" ".join(filter(None, (rating, note and say("tui.round.note", text=note))))]


def why_not_read(round_: Round) -> str:
    """Why later prompts leave the round out; "" for a round that the model reads."""
    if round_.state == "streaming" or read_again(round_.reply).strip():
        return ""
    return say("tui.round.only_thoughts" if round_.reply.strip() else "tui.round.empty")
