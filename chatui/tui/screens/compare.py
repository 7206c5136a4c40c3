"""Alt+D: the screen that shows the replies to one query side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click, Resize
from textual.screen import Screen
from textual.widgets import Static

from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.text import one_line
from chatui.text_difference import Spans, differing_spans
from chatui.tui.comparison import Column, ComparingTurns, Comparison, column_problem
from chatui.tui.screens import COMPACT_BELOW_CELLS, SHORT_BELOW_ROWS
from chatui.tui.screens.turn_display import REDRAWS_PER_SECOND, GrowingReply
from chatui.tui.turns_app import TurnsApp
from chatui.tui.widgets.conversation_view import FollowingScroll
from chatui.tui.widgets.key_line import KeyLine
from chatui.tui.widgets.round_layout import Viewport
from chatui.tui.widgets.round_list import RoundList
from chatui.tui.widgets.round_view import PartName, RoundPart, RoundView
from chatui.tui.widgets.status_line import progress_text
from chatui.tui.wrapped_text import WrappedText, shown_text
from chatui.tui.wrapping import Row, Span, cut_spans, overlay_spans

_UNRELATED_SHARE = 0.9
"""Share of differing text from which on replies count as unrelated, and nothing is highlighted."""
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


class ColumnView(Vertical):
    """A column: the model, its progress, and its reply."""

    def __init__(self, number: int, column: Column, comparison: Comparison) -> None:
        super().__init__()
        self.column = column
        self.reply: ComparedReply | None = None
        self._number = number
        self._comparison = comparison
        self._growing: GrowingReply | None = None

    def compose(self) -> ComposeResult:
        title = f"{self._number}  {one_line(self.column.title, 80)}"
        yield Static(Content(title), classes="title")
        yield Static(classes="state", markup=False)
        yield FollowingScroll()

    def draw(self) -> None:
        """Draw what has changed since the last call."""
        round_, reply = self.column.round, self.column.reply
        if round_ is not None and self.reply is None:
            self.reply = ComparedReply(round_)
            if reply is not None:
                self._growing = GrowingReply(reply, self.reply.view, len(reply.pieces))
            place = self.query_one(FollowingScroll)
            place.mount(self.reply)
            # An existing reply is shown from its beginning.
            place.anchor(reply is not None)
        elif self._growing is not None:
            self._growing.draw()
            if reply is not None and reply.ended:
                self._growing.view.update(reply.round)
                self._growing = None
        problem = column_problem(self.column, self._comparison)
        state = self.query_one(".state", Static)
        state.set_class(bool(problem), "-problem")
        state.update(Content(problem or self._state()))

    def _state(self) -> str:
        loading, reply = self.column.loading, self.column.reply
        if loading is not None:
            return progress_text(loading.done_bytes, loading.total_bytes)
        if reply is None:
            key = "there" if self.column.existing else "waits"
            return say(f"overview.compare.{key}")
        words = say("overview.compare.tokens", count=reply.output_tokens)
        if speed := reply.tokens_per_second:
            words += " · " + say("tui.status.speed", speed=f"{speed:.1f}")
        return words


class CompareScreen(Screen[Column | None]):
    """Shows the columns of a comparison; returns the one to continue with, or None."""

    app: TurnsApp
    CSS_PATH = "compare.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "choose(-1)", "overview.keys.column_before"),
        Binding("right", "choose(1)", "overview.keys.column_after"),
        *(Binding(str(number), f"column({number})", "") for number in (2, 3)),
        Binding("1", "column(1)", "overview.keys.column"),
        Binding("enter", "take", "overview.keys.take_column"),
        Binding("escape", "stop_or_leave", "overview.keys.stop_or_leave"),
        Binding("up", "scroll(-1)", "tui.keys.list_up"),
        Binding("down", "scroll(1)", "tui.keys.list_down"),
        Binding("pageup", "scroll(-10)", "tui.keys.list_page_up"),
        Binding("pagedown", "scroll(10)", "tui.keys.list_page_down"),
        Binding("alt+m", "markdown", "tui.keys.markdown"),
        Binding("alt+y", "copy", "overview.keys.copy_column"),
        Binding("ctrl+c", "copy_or_stop", "tui.keys.copy"),
    ]

    def __init__(self, turns: ComparingTurns, comparison: Comparison) -> None:
        super().__init__()
        self._turns = turns
        self._comparison = comparison
        self._chosen = 0
        self._is_finishing = False

    def compose(self) -> ComposeResult:
        words = say("overview.compare.title", query=one_line(self._comparison.text, 200))
        yield Static(Content(words), id="query")
        with FollowingScroll(id="columns") as columns:
            columns.anchor()
            for number, column in enumerate(self._comparison.columns, 1):
                yield ColumnView(number, column, self._comparison)
        yield KeyLine(say("overview.compare.keys"))

    def on_mount(self) -> None:
        self._drawing = self.set_interval(1 / REDRAWS_PER_SECOND, self._draw)
        self._choose(0)
        self._draw()
        self._highlight_when_finished()

    def on_resize(self, event: Resize) -> None:
        # Narrow: the columns are stacked.
        self.set_class(event.size.width < COMPACT_BELOW_CELLS, "-narrow")
        self.set_class(event.size.height < SHORT_BELOW_ROWS, "-short")

    def _draw(self) -> None:
        for view in self.query(ColumnView):
            view.draw()

    @work(exclusive=True)
    async def _highlight_when_finished(self) -> None:
        """Highlight the differences once all replies are complete."""
        await self._comparison.finished.wait()
        self._drawing.pause()
        self._draw()
        replies = [view.reply for view in self.query(ColumnView) if view.reply is not None]
        if len(replies) > 1:
            # The rows exist after the layout of the columns.
            self.call_after_refresh(self._highlight, replies)

    @work(exclusive=True)
    async def _highlight(self, replies: list[ComparedReply]) -> None:
        spans = await asyncio.to_thread(differing_spans, [reply.answer for reply in replies])
        for reply, differing in zip(replies, spans, strict=True):
            share = sum(end - start for start, end in differing) / max(1, len(reply.answer))
            reply.highlight_differences(differing if share < _UNRELATED_SHARE else ())

    # Keys and clicks

    def _choose(self, index: int) -> None:
        self._chosen = index % len(self._comparison.columns)
        for number, view in enumerate(self.query(ColumnView)):
            view.set_class(number == self._chosen, "-chosen")
            if number == self._chosen and self.has_class("-narrow"):
                view.scroll_visible(animate=False, top=True)

    def action_choose(self, step: int) -> None:
        self._choose(self._chosen + step)

    def action_column(self, number: int) -> None:
        if number <= len(self._comparison.columns):
            self._choose(number - 1)

    def on_click(self, event: Click) -> None:
        for number, view in enumerate(self.query(ColumnView)):
            if event.widget is not None and view in event.widget.ancestors_with_self:
                self._choose(number)

    def action_take(self) -> None:
        """Continue with the chosen column, if it has a reply."""
        column = self._comparison.columns[self._chosen]
        if column.round is not None:
            self._finish(column)

    def action_stop_or_leave(self) -> None:
        """Stop the running reply; without one, close the screen."""
        if self._comparison.finished.is_set():
            self._finish(None)
        else:
            self._turns.stop_comparison(self._comparison)

    @work
    async def _finish(self, column: Column | None) -> None:
        if not self._is_finishing:
            self._is_finishing = True
            self._turns.stop_comparison(self._comparison)
            await self._comparison.finished.wait()
            self.dismiss(column)

    def action_scroll(self, rows: int) -> None:
        """Scroll all columns together."""
        for view in self.query(FollowingScroll):
            view.scroll_relative(y=rows, animate=False, immediate=True)

    def action_markdown(self) -> None:
        """Switch all replies between Markdown and plain text."""
        replies = [view.reply for view in self.query(ColumnView) if view.reply is not None]
        is_markdown = not any(reply.view.is_markdown for reply in replies)
        for reply in replies:
            reply.highlight_differences(())
            reply.view.show_markdown(is_markdown)
        self._highlight_when_finished()

    def action_copy(self) -> None:
        round_ = self._comparison.columns[self._chosen].round
        if round_ is not None:
            self.app.copy(round_.reply, say("tui.rewrite.nothing"))

    def action_copy_or_stop(self) -> None:
        selected = self.get_selected_text()
        if selected:
            self.app.copy(selected)
        elif not self._comparison.finished.is_set():
            self.action_stop_or_leave()

    @on(RoundList.CodeClicked)
    def _on_code_clicked(self, event: RoundList.CodeClicked) -> None:
        self.app.copy(event.code, say("tui.hint.no_code"))
