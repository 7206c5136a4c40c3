"""A round as rows: the query, who replied, the reply, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

from textual.geometry import Offset
from textual.selection import Selection

from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.prompting.parts import answer_of, reply_for_history
from chatui.text import one_line, plain_text
from chatui.tui.model_names import display_name, writes_markdown
from chatui.tui.reply_blocks import BlockName, ReplyBlocks
from chatui.tui.wrapped_text import WrappedText
from chatui.tui.wrapping import estimated_rows

SHOWN_QUERY_CHARACTERS = 4_000
SHOWN_REPLY_CHARACTERS = 50_000
"""A longer text is shown up to here when it is loaded; the store keeps all of it."""

PartName: TypeAlias = BlockName | Literal["query", "author", "note"]


class Shape(NamedTuple):
    """What rounds are laid out for.

    Attributes:
        width: cells of text in a row.
        gap: empty rows between the query and the reply, and behind the round.
    """

    width: int
    gap: int


class PartPosition(NamedTuple):
    """Where a part stands: its rows from ``top`` on, and its first paragraph.

    Attributes:
        height: rows, an estimate of those that are not read yet among them.
        fold: which part of the reply it is, where a click opens or folds it; else None.
    """

    name: PartName
    text: WrappedText
    top: int
    height: int
    paragraph: int
    fold: int | None


class RoundView:
    """The rows of one round, which are made when they are first asked for.

    Attributes:
        round: as it stands.
        shape: what the rows are laid out for; None before they are.
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
            changed: called with the first row that looks different.
            is_markdown: whether the reply is shown as Markdown; None leaves it to the preset.
        """
        self.round = round_
        self.shape: Shape | None = None
        self._changed = changed
        self._is_markdown = is_markdown
        self._dropped_rounds = 0

    @cached_property
    def _query(self) -> WrappedText:
        return WrappedText(plain_text(self.round.query[:SHOWN_QUERY_CHARACTERS]))

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
            SHOWN_REPLY_CHARACTERS,
            is_complete=self.round.state == "done",
            is_markdown=self.is_markdown,
        )

    @cached_property
    def _note(self) -> WrappedText:
        edited = say("tui.round.edited") if self.round.sampling.get("edited") else ""
        words = [edited, state_text(self.round, self._reply.has_text), exclusion_reason(self.round)]
        words += rating_text(self.round)
        if self.round.damaged:
            words.append(say("tui.round.damaged", names=", ".join(self.round.damaged)))
        hidden = max(0, len(self.round.query) - SHOWN_QUERY_CHARACTERS) + self._reply.hidden
        if hidden:
            words.append(say("tui.round.hidden", count=f"{hidden:,}"))
        if self._dropped_rounds:
            words.append(say("tui.round.dropped", count=self._dropped_rounds))
        return WrappedText("\n".join(filter(None, words)))

    def _rebuild(self, *names: str) -> None:
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
        """Whether the reply is shown as Markdown, and not as it was written."""
        if self._is_markdown is None:
            return writes_markdown(self.round.model)
        return self._is_markdown

    def show_markdown(self, is_markdown: bool | None) -> None:
        """Show the reply as Markdown, or as it was written; None as the preset says."""
        before, self._is_markdown = self.is_markdown, is_markdown
        if self.is_markdown != before and "_reply" in self.__dict__:
            self._reply.is_markdown = self.is_markdown
            self._reply.set_text(self._reply.raw, is_complete=self.round.state == "done")
            self._rebuild("_note")

    @property
    def has_folds(self) -> bool:
        """Whether the reply has parts that are folded away."""
        return self._reply.has_folds

    @property
    def last_code(self) -> str:
        """The last block of code of the reply; "" without one."""
        from chatui.tui.markdown.markdown_text import MarkdownText

        return MarkdownText(answer_of(self._reply.raw)).last_code

    def toggle_folds(self) -> None:
        """Open what is folded away, or fold it again."""
        self._reply.toggle_all()
        self._rebuild()

    def toggle_fold(self, part: int) -> None:
        """Open one folded part of the reply, or fold it again."""
        self._reply.toggle(part)
        self._rebuild()

    def append(self, text: str) -> None:
        """The reply goes on."""
        had_begun = self._reply.has_text
        first = self._reply.append(text)
        if not had_begun:
            self._rebuild("_note")
        elif first is None:
            self._rebuild()
        else:
            top = next((place.top for place in self.part_positions() if place.name == "reply"), 0)
            self._changed(self, top + first)

    def update(self, round_: Round) -> None:
        """The reply has ended, or was rated since."""
        self._reply.end(round_.reply, is_complete=round_.state == "done")
        self.round = round_
        self._rebuild("_author", "_note")

    def set_dropped_rounds(self, count: int) -> None:
        """Say that the oldest ``count`` rounds did not fit into what the model read."""
        self._dropped_rounds = count
        self._rebuild("_note")

    # Rows

    def lay_out(self, shape: Shape) -> None:
        """Make the rows for a shape; of a very long reply the first ones."""
        self.shape = shape
        for _, text, _ in self._parts():
            if text.width != shape.width:
                text.rewrap(shape.width)

    def estimated_height(self, shape: Shape) -> int:
        """About how many rows the round will take; quick."""
        texts = (self.round.query, self.round.reply)
        return 1 + shape.gap + sum(estimated_rows(text, shape.width) for text in texts)

    @property
    def height(self) -> int:
        """Rows; those of a very long reply that are not read yet are an estimate."""
        last = self.part_positions()[-1]
        return last.top + last.height

    @property
    def read_height(self) -> int:
        """So many of the rows, from the first, are no estimate."""
        for place in self.part_positions():
            if place.height > len(place.text.rows):
                return place.top + len(place.text.rows)
        return self.height

    @property
    def has_unread(self) -> bool:
        """Whether some rows are still an estimate."""
        return any(block.text.has_unread for block in self._reply.blocks)

    def read_more(self) -> None:
        """Read more of a very long reply."""
        for block in self._reply.blocks:
            if block.text.has_unread:
                block.text.read_more()
                return

    def _parts(self) -> Iterator[tuple[PartName, WrappedText, int | None]]:
        """All parts with their rows, and which part of the reply a click folds."""
        yield "query", self._query, None
        yield "author", self._author, None
        for block in self._reply.blocks:
            yield block.name, block.text, block.part if block.name == "fold" else None
        yield "note", self._note, None

    def part_positions(self) -> list[PartPosition]:
        """The parts that are shown, from top to bottom."""
        gap = 1 if self.shape is None else self.shape.gap
        places: list[PartPosition] = []
        top = paragraph = 0
        for name, text, fold in self._parts():
            if not text.has_text:
                continue
            top += gap if name == "author" else 0
            height = len(text.rows) + text.unread_rows
            places.append(PartPosition(name, text, top, height, paragraph, fold))
            top += height
            paragraph += text.rows[-1].paragraph + 1
        return places

    def part_at(self, y: int) -> PartPosition | None:
        """The part that a row belongs to; None between parts and where nothing is read yet."""
        for place in reversed(self.part_positions()):
            if place.top <= y < place.top + len(place.text.rows):
                return place
        return None

    def selected_text(self, selection: Selection) -> str:
        """What a selection takes, by paragraphs of the round and indices in them."""
        if selection.start in (None, Offset(0, 0)) and selection.end is None:
            # All of it: the reply exactly as it was written, folded or not.
            texts = (self.round.query, self._author.text, self._reply.raw, self._note.text)
            return "\n".join(filter(None, texts))
        chosen: list[str] = []
        for place in self.part_positions():
            first, rows = place.paragraph, place.text.rows
            start = Offset(0, 0) if selection.start is None else selection.start - (0, first)
            last = Offset(len(rows[-1].text) + rows[-1].start, rows[-1].paragraph)
            end = last if selection.end is None else selection.end - (0, first)
            if start.y <= last.y and end.y >= 0:
                start = Offset(0, 0) if start.y < 0 else start
                chosen.append(
                    place.text.selected(Selection(start, last if end.y > last.y else end))
                )
        return "\n".join(chosen)


def state_text(round_: Round, has_reply: bool) -> str:
    """How a round stands; "" if there is nothing to say."""
    if round_.state == "streaming":
        return "" if has_reply else say("tui.round.reading")
    if round_.state == "failed":
        return say("tui.round.failed", reason=one_line(round_.error or "", 1000))
    if round_.state in ("stopped", "interrupted"):
        return say(f"tui.round.{round_.state}")
    if round_.finish_reason in ("length", "filter"):
        return say(f"tui.round.{round_.finish_reason}")
    return ""


def rating_text(round_: Round) -> list[str]:
    """The user's rating and note of a reply."""
    rating = {1: say("tui.round.good"), -1: say("tui.round.bad"), 0: ""}[round_.rating]
    note = plain_text(round_.note[:SHOWN_QUERY_CHARACTERS])
    return [" ".join(filter(None, (rating, note and say("tui.round.note", text=note))))]


def exclusion_reason(round_: Round) -> str:
    """Why later prompts leave the round out; "" for a round that the model reads."""
    if round_.state == "streaming" or reply_for_history(round_.reply).strip():
        return ""
    return say("tui.round.only_thoughts" if round_.reply.strip() else "tui.round.empty")
