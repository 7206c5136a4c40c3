"""A round as rows: the query, the author, the reply, and a note."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

from textual.geometry import Offset
from textual.selection import Selection

from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.prompting.parts import answer_of
from chatui.text import one_line, plain_text
from chatui.tui.model_names import display_name, writes_markdown
from chatui.tui.reply_blocks import BlockName, ReplyBlocks
from chatui.tui.widgets.round_note import note_text
from chatui.tui.wrapped_text import WrappedText
from chatui.tui.wrapping import estimated_rows

MAX_QUERY_CHARACTERS = 4_000
MAX_REPLY_CHARACTERS = 50_000
"""A longer text is cut here when it is loaded; the store keeps all of it."""

PartName: TypeAlias = BlockName | Literal["query", "author", "note"]


class Shape(NamedTuple):
    """The width and spacing that rounds are laid out for.

    Attributes:
        width: cells of text in a row.
        gap: empty rows between the query and the reply, and after the round.
    """

    width: int
    gap: int


class RoundPart(NamedTuple):
    """A part of a round and its position in the round.

    Attributes:
        text: the rows of the part.
        top: its first row.
        height: number of rows; an estimate for a long text that is not wrapped to its end.
        paragraph: its first paragraph.
        fold: index of the reply's part that a click here opens or folds; None if it does neither.
    """

    name: PartName
    text: WrappedText
    top: int
    height: int
    paragraph: int
    fold: int | None


class RoundView:
    """The rows of one round, made on first use.

    Attributes:
        round: the round that is shown.
        shape: what the rows are laid out for; None before the first layout.
    """

    def __init__(
        self,
        round_: Round,
        changed: Callable[[RoundView, int], None],
        *,
        is_markdown: bool | None = None,
    ) -> None:
        """
        Args:
            changed: called with the view and its first changed row.
            is_markdown: show the reply as Markdown; None leaves it to the preset.
        """
        self.round = round_
        self.shape: Shape | None = None
        self._changed = changed
        self._is_markdown = is_markdown
        self._dropped_rounds = 0

    @cached_property
    def _query(self) -> WrappedText:
        return WrappedText(plain_text(self.round.query[:MAX_QUERY_CHARACTERS]))

    @cached_property
    def _author(self) -> WrappedText:
        words = one_line(display_name(self.round.model)) or say("conversation.export.reply")
        if self.round.versions > 1:
            version, versions = self.round.version, self.round.versions
            words += "  " + say("tui.round.version", version=version, versions=versions)
        return WrappedText(words)

    @cached_property
    def _reply(self) -> ReplyBlocks:
        return ReplyBlocks(
            self.round.reply,
            MAX_REPLY_CHARACTERS,
            is_complete=self.round.state == "done",
            is_markdown=self.is_markdown,
        )

    @cached_property
    def _note(self) -> WrappedText:
        hidden_query = max(0, len(self.round.query) - MAX_QUERY_CHARACTERS)
        note = note_text(
            self.round,
            has_reply=self._reply.has_text,
            hidden=hidden_query + self._reply.hidden,
            dropped_rounds=self._dropped_rounds,
        )
        return WrappedText(note)

    def _rebuild(self, *names: str) -> None:
        """Drop these cached texts and lay the round out again."""
        for name in names:
            self.__dict__.pop(name, None)
        if self.shape is not None:
            self.lay_out(self.shape)
        self._changed(self, 0)

    @property
    def reply_text(self) -> str:
        """The reply as shown."""
        return self._reply.text

    @property
    def is_markdown(self) -> bool:
        """True if the reply is shown as Markdown, False if as plain text."""
        if self._is_markdown is None:
            return writes_markdown(self.round.model)
        return self._is_markdown

    def show_markdown(self, is_markdown: bool | None) -> None:
        """Show the reply as Markdown or as plain text; None leaves it to the preset."""
        before, self._is_markdown = self.is_markdown, is_markdown
        if self.is_markdown != before and "_reply" in self.__dict__:
            self._reply.is_markdown = self.is_markdown
            self._reply.set_text(self._reply.raw, is_complete=self.round.state == "done")
            self._rebuild("_note")

    @property
    def has_folds(self) -> bool:
        """True if the reply has foldable parts."""
        return self._reply.has_folds

    @property
    def last_code(self) -> str:
        """The last code block of the reply; "" if there is none."""
        from chatui.tui.markdown.markdown_text import MarkdownText

        return MarkdownText(answer_of(self._reply.raw)).last_code

    def toggle_folds(self) -> None:
        """Open all foldable parts, or fold them if any is open."""
        self._reply.toggle_all()
        self._rebuild()

    def toggle_fold(self, part: int) -> None:
        """Open or fold one part of the reply."""
        self._reply.toggle(part)
        self._rebuild()

    def append(self, text: str) -> None:
        """Append ``text`` to the reply."""
        had_begun = self._reply.has_text
        first = self._reply.append(text)
        if not had_begun:
            self._rebuild("_note")
        elif first is None:
            self._rebuild()
        else:
            top = next((part.top for part in self.parts() if part.name == "reply"), 0)
            self._changed(self, top + first)

    def update(self, round_: Round) -> None:
        """Show the round as it is now: its reply has ended, or it was rated."""
        self._reply.end(round_.reply, is_complete=round_.state == "done")
        self.round = round_
        self._rebuild("_author", "_note")

    def set_dropped_rounds(self, count: int) -> None:
        """Set the number of older rounds that did not fit into the prompt."""
        self._dropped_rounds = count
        self._rebuild("_note")

    # Rows

    def lay_out(self, shape: Shape) -> None:
        """Make the rows for a shape; only the first ones of a very long reply."""
        self.shape = shape
        for _, text, _ in self._part_texts():
            if text.width != shape.width:
                text.rewrap(shape.width)

    def estimated_height(self, shape: Shape) -> int:
        """Return a quick estimate of the round's rows."""
        texts = (self.round.query, self.round.reply)
        return 1 + shape.gap + sum(estimated_rows(text, shape.width) for text in texts)

    @property
    def height(self) -> int:
        """Number of rows, with an estimate for the rows not yet made."""
        last = self.parts()[-1]
        return last.top + last.height

    @property
    def read_height(self) -> int:
        """Number of rows up to the first row that is an estimate."""
        for part in self.parts():
            if part.height > len(part.text.rows):
                return part.top + len(part.text.rows)
        return self.height

    @property
    def has_unread(self) -> bool:
        """True if some rows are still an estimate."""
        return any(block.text.has_unread for block in self._reply.blocks)

    def read_more(self) -> None:
        """Make more rows of a very long reply."""
        for block in self._reply.blocks:
            if block.text.has_unread:
                block.text.read_more()
                return

    def _part_texts(self) -> Iterator[tuple[PartName, WrappedText, int | None]]:
        """Yield the name, the text and the fold of each part, also of empty ones."""
        yield "query", self._query, None
        yield "author", self._author, None
        for block in self._reply.blocks:
            yield block.name, block.text, block.part if block.name == "fold" else None
        yield "note", self._note, None

    def parts(self) -> list[RoundPart]:
        """Return the parts that have text, from top to bottom."""
        gap = 1 if self.shape is None else self.shape.gap
        parts: list[RoundPart] = []
        top = paragraph = 0
        for name, text, fold in self._part_texts():
            if not text.has_text:
                continue
            top += gap if name == "author" else 0
            height = len(text.rows) + text.unread_rows
            parts.append(RoundPart(name, text, top, height, paragraph, fold))
            top += height
            paragraph += text.rows[-1].paragraph + 1
        return parts

    def part_at(self, y: int) -> RoundPart | None:
        """Return the part at a row; None for a gap and for rows not yet made."""
        for part in reversed(self.parts()):
            if part.top <= y < part.top + len(part.text.rows):
                return part
        return None

    def selected_texts(self, start: tuple[int, int], end: tuple[int, int]) -> list[str]:
        """Return the selected texts of the parts.

        Args:
            start, end: a paragraph of the round and a character in it; may be outside.
        """
        parts = self.parts()
        if start <= (0, 0) and end[0] > parts[-1].paragraph + parts[-1].text.rows[-1].paragraph:
            # The whole round: the reply as the model wrote it, folded or not.
            texts = (self.round.query, self._author.text, self._reply.raw, self._note.text)
            return list(filter(None, texts))
        chosen: list[str] = []
        for part in parts:
            first, row = part.paragraph, part.text.rows[-1]
            top = max(start, (first, 0))
            bottom = min(end, (first + row.paragraph, row.start + len(row.text)))
            if top < bottom:
                own = (Offset(x, y - first) for y, x in (top, bottom))
                chosen.append(part.text.selected(Selection(*own)))
        return chosen
