"""The running reply on the main screen, and the counts in the status line."""

from __future__ import annotations

import asyncio
import time

from textual import work

from chatui.errors import ChatuiError
from chatui.messages import GenerateRequest
from chatui.tui.running_reply import RunningReply
from chatui.tui.screens.chat_layout import ChatLayout
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


class ReplyDisplay(ChatLayout):
    """Draws the running reply of the conversation on the screen, and its counts."""

    def __init__(self) -> None:
        super().__init__()
        self._growing: GrowingReply | None = None
        self._drew_reply_at = self._drew_counts_at = 0.0

    def on_mount(self) -> None:
        self._drawing = self.set_interval(
            1 / REDRAWS_PER_SECOND, self._draw_reply_when_due, pause=True
        )

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
