"""What the turns report, the running reply, and the conversation on the screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from textual import work

from chatui.conversation.rounds import Round
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest
from chatui.text import one_line
from chatui.tui.running_reply import RunningReply
from chatui.tui.screens.model_actions import ModelActions
from chatui.tui.turn_messages import (
    ErrorOccurred,
    LoadFailed,
    LoadProgress,
    ModelReady,
    PromptRead,
    RoundBegun,
    RoundEnded,
    TurnMessage,
    WaitingChanged,
)
from chatui.tui.widgets.query_box import WaitingList
from chatui.tui.widgets.round_view import RoundView

REDRAWS_PER_SECOND = 30
"""Maximum redraws of a growing reply per second."""

MAX_POSTPONED_SECONDS = 0.1
"""Maximum seconds that key presses may postpone a redraw of a growing reply."""

COUNT_SECONDS = 0.2
"""Minimum seconds between redraws of the counts, which are unreadable if they change faster."""


class GrowingReply:
    """A running reply, and the view that it is drawn in."""

    def __init__(self, reply: RunningReply, view: RoundView, drawn_pieces: int = 0) -> None:
        """
        Args:
            drawn_pieces: the number of pieces that the view already shows.
        """
        self.reply = reply
        self.view = view
        self._drawn_pieces = drawn_pieces

    def draw(self) -> None:
        """Append the pieces that were added since the last call."""
        if new := self.reply.pieces[self._drawn_pieces :]:
            self._drawn_pieces += len(new)
            self.view.append("".join(piece.text for piece in new))


class TurnDisplay(ModelActions):
    """Shows what the turns report, draws the running reply, and opens conversations."""

    def __init__(self) -> None:
        super().__init__()
        self._is_opening = False
        self._growing: GrowingReply | None = None
        self._drew_reply_at = self._drew_counts_at = 0.0

    def on_mount(self) -> None:
        self._drawing = self.set_interval(
            1 / REDRAWS_PER_SECOND, self._draw_reply_when_due, pause=True
        )

    def _after_first_paint(self) -> None:
        super()._after_first_paint()
        if self.app.initial_conversation_id is not None:
            self._open_at_start(self.app.initial_conversation_id)

    @work
    async def _open_at_start(self, conversation_id: int) -> None:
        await self.open_conversation(conversation_id)

    def handle_turn_message(self, message: TurnMessage) -> None:
        """Show an event of the turns; called for each of them in order."""
        match message:
            case PromptRead(round_, notes):
                self._on_prompt_read(round_, notes)
            case RoundBegun(round_):
                self._on_round_begun(round_)
            case RoundEnded(round_):
                self._on_round_ended(round_)
            case WaitingChanged():
                self.query_one(WaitingList).show(message.queries)
            case LoadProgress():
                self._on_load_progress(message)
            case ModelReady():
                self._on_model_ready(message)
                self._measure_context()
            case LoadFailed():
                self._on_load_failed(message)
            case ErrorOccurred():
                self._give_back(message.queries)
                self.app.tell_user(message.sentence)

    def _on_round_begun(self, round_: Round) -> None:
        self._show_reply_elsewhere()
        if self._is_opening or not self._is_here(round_):
            return
        reply = self.app.turns.reply_here
        assert reply is not None
        self._growing = GrowingReply(reply, self._conversation.add(round_))
        self._status.activity = ""
        self._drawing.resume()
        self._show_title()
        self.refresh_lists()
        self._show_keys()

    def _on_prompt_read(self, round_: Round, notes: Sequence[str]) -> None:
        if self._is_here(round_):
            self._show_dropped_rounds()
            self._show_counts()
            self._measure_context()
        for note in notes:
            self.app.warn_once(note)

    def _on_round_ended(self, round_: Round) -> None:
        self._refresh_lists_when_saved()
        self._show_reply_elsewhere()
        if round_.state != "stopped":
            self.app.send_desktop_notification(
                say("tui.hint.ended", query=one_line(round_.query, 60))
            )
        if not self._is_here(round_):
            if round_.state != "stopped":
                self._tell_reply_elsewhere_ended(round_)
            return
        self._draw_reply()
        self._drawing.pause()
        self._conversation.replace(round_)
        self._growing = None
        self._show_counts()
        self._show_keys()
        self._measure_context()

    def _is_here(self, round_: Round) -> bool:
        """Return whether a round belongs to the conversation on the screen."""
        return round_.conversation_id == self.app.turns.current.id

    @work
    async def _tell_reply_elsewhere_ended(self, round_: Round) -> None:
        store = self.app.store
        try:
            conversation = await asyncio.to_thread(store.conversation, round_.conversation_id)
        except ChatuiError:
            return
        self.app.hint("tui.hint.ended_elsewhere", title=one_line(conversation.title, 40))

    # The running reply

    def _draw_reply(self) -> None:
        if self._growing is not None:
            self._growing.draw()

    def _draw_reply_when_due(self) -> None:
        """Draw the reply and its counts, unless a key press is about to be drawn."""
        now = time.monotonic()
        if self.app.is_key_pending and now - self._drew_reply_at < MAX_POSTPONED_SECONDS:
            return
        self._drew_reply_at = now
        self._draw_reply()
        if now - self._drew_counts_at >= COUNT_SECONDS:
            self._drew_counts_at = now
            self._show_counts()

    def _show_dropped_rounds(self) -> None:
        growing = self._growing
        if growing is not None and growing.reply.dropped_rounds:
            growing.view.set_dropped_rounds(growing.reply.dropped_rounds)

    def _show_counts(self) -> None:
        reply = self.app.turns.reply_here
        if reply is None:
            self._status.tokens_per_second = self._status.context_used = 0
            return
        self._status.tokens_per_second = round(reply.tokens_per_second, 1)
        self._status.context_used = reply.begun_round.prompt_tokens + reply.output_tokens
        if reply.context_limit:
            self._status.context_limit = reply.context_limit

    @work(exclusive=True, group="context")
    async def _measure_context(self) -> None:
        """Measure how the rounds share the context window, for the meter in the status line."""
        from chatui.prompting.window import reply_reserve
        from chatui.tui.context_use import measure_context_use

        turns, store = self.app.turns, self.app.store
        current, reply = turns.current, turns.reply_here
        if current.id is None or current.head_id is None:
            self._status.context = None
            return
        try:
            rounds = await asyncio.to_thread(store.rounds, current.id, current.head_id)
            prompt = await asyncio.to_thread(store.prompt, rounds[-1].id)
        except ChatuiError:
            # Another chatui may have deleted the conversation.
            return
        tokens, dropped = rounds[-1].prompt_tokens, prompt.dropped_rounds if prompt else 0
        if reply is not None and reply.begun_round.id == rounds[-1].id:
            tokens, dropped = reply.begun_round.prompt_tokens, reply.dropped_rounds
        limit = self._status.context_limit
        reserve = 0
        if limit:
            request = GenerateRequest("", sampling=current.changes.sampling_for(turns.spec))
            reserve = reply_reserve(turns.spec, request, limit)
        self._status.context = measure_context_use(rounds, tokens, dropped, reserve)

    # The conversation on the screen

    async def _show_rounds(self, rounds: Sequence[Round]) -> None:
        turns = self.app.turns
        shown = turns.reply_here
        had_ended = shown is not None and shown.ended
        drawn_pieces = 0 if shown is None else len(shown.pieces)
        self._growing = None
        self._drawing.pause()
        self._is_opening = True
        await self._conversation.show(rounds, self._greeting())
        self._is_opening = False
        self._box.set_history([round_.query for round_ in rounds])
        self._show_counts()
        if rounds:
            self._status.context_used = rounds[-1].prompt_tokens + rounds[-1].output_tokens
        self._measure_context()
        reply = turns.reply_here
        if reply is not None and not (had_ended and reply is shown):
            self._continue_drawing(reply, drawn_pieces)
        self._show_reply_elsewhere()
        self._show_title()
        self.refresh_lists()
        self._show_keys()

    def _show_reply_elsewhere(self) -> None:
        turns, words = self.app.turns, say("tui.status.replying_elsewhere")
        if turns.is_replying and not turns.is_replying_here:
            self._status.activity = words
        elif self._status.activity == words:
            self._status.activity = ""

    def _continue_drawing(self, reply: RunningReply, drawn_pieces: int) -> None:
        """Draw the rest of the running reply of a conversation that was just opened."""
        view = self._conversation.view_of(reply.begun_round.id)
        if view is None:
            # The round was begun while the conversation was being opened.
            self._on_round_begun(reply.begun_round)
        else:
            self._growing = GrowingReply(reply, view, drawn_pieces)
        self._show_dropped_rounds()
        if reply.ended:
            self._on_round_ended(reply.round)
        else:
            self._drawing.resume()

    async def open_conversation(self, conversation_id: int, round_id: int | None = None) -> None:
        """Show a conversation; a reply in the previous one continues.

        Args:
            round_id: a round to show, on another branch than the last one if necessary.
        """
        with self.reporting_errors():
            await self._show_rounds(await self.app.turns.open(conversation_id, round_id))

    async def show_new(self) -> None:
        """Show a new conversation; a reply in the previous one continues."""
        self.app.turns.start_new()
        await self._show_rounds(())
        self._find_last_conversation()

    @work
    async def _refresh_lists_when_saved(self) -> None:
        """Update the lists, which mark conversations with a running reply."""
        if self.app.turns.reply is not None:
            await self.app.turns.reply.wait_until_saved()
        self.refresh_lists()

    def refresh_lists(self) -> None:
        """Update the lists of conversations that are open."""
