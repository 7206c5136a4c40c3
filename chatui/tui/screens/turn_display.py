"""What the turns tell, shown as it happens: a reply that grows, counts, which conversation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual import work

from chatui.conversation.rounds import Round
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest
from chatui.text import one_line
from chatui.tui.model_names import display_name, reply_author
from chatui.tui.reply_growth import REDRAWS_PER_SECOND, GrowingReply
from chatui.tui.running_reply import RunningReply
from chatui.tui.screens.chat_layout import ChatLayout
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
from chatui.tui.widgets.status_line import progress_words
from chatui.tui.widgets.waiting_list import WaitingList
from chatui.tui.widgets.welcome import Welcome, greeting_for

if TYPE_CHECKING:
    from chatui.tui.screens.conversations import ConversationPicker

MAX_POSTPONED_SECONDS = 0.1
"""Keys are drawn before a growing reply, but not for longer than this."""

COUNT_SECONDS = 0.2
"""So often, at most, the numbers that grow with a reply are drawn; faster ones cannot be read."""


class TurnDisplay(ChatLayout):
    """Shows what happens in the turns.

    Attributes:
        open_list: the list of conversations, while it is over this screen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.open_list: ConversationPicker | None = None
        self._growing: GrowingReply | None = None
        self._drew_reply_at = self._counted_at = 0.0
        self._is_opening = False
        self._load_began = 0.0

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
        """Show what happened; called for everything the turns tell, in order."""
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
            case LoadFailed():
                self._on_load_failed(message)
            case ErrorOccurred():
                self._give_back(message.queries)
                self._tell_user(message.sentence)

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
        self._refresh_list()
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
        """Whether a round belongs to the conversation on the screen."""
        return round_.conversation_id == self.app.turns.current.id

    @work
    async def _tell_reply_elsewhere_ended(self, round_: Round) -> None:
        store = self.app.store
        try:
            conversation = await asyncio.to_thread(store.conversation, round_.conversation_id)
        except ChatuiError:
            return
        words = say("tui.hint.ended_elsewhere", title=one_line(conversation.title, 40))
        self._tell_user(words, "information")

    # The model

    def _on_load_progress(self, message: LoadProgress) -> None:
        loading = message.loading
        self._status.model = one_line(display_name(reply_author(message.spec)))
        if not loading.done_bytes:
            self._load_began = time.monotonic()
        self._status.activity = progress_words(
            loading.stage,
            loading.done_bytes,
            loading.total_bytes,
            time.monotonic() - self._load_began,
        )

    def _on_model_ready(self, message: ModelReady) -> None:
        spec, loaded = message.spec, message.loaded
        for welcome in self.query(Welcome):
            welcome.set_greeting(greeting_for(spec))
        self._status.model = one_line(display_name(reply_author(spec, loaded)))
        self._status.activity = ""
        self._status.device = say("tui.status.small") if loaded.skipped_gpu else ""
        self._show_thinking()
        # What was measured of the model before says nothing of this one.
        self._status.tokens_per_second = 0
        if self._status.context_limit not in (0, loaded.context_limit):
            self._status.context_used = 0
        self._status.context_limit = loaded.context_limit
        self._measure_context()
        for note in loaded.notes:
            self.app.warn_once(note)

    def _on_load_failed(self, message: LoadFailed) -> None:
        self._give_back(message.waiting)
        turns = self.app.turns
        self._status.model = one_line(display_name(reply_author(turns.spec)))
        self._status.activity = "" if turns.loaded else say("tui.status.not_loaded")
        self._tell_user(message.sentence)

    def _show_thinking(self) -> None:
        turns = self.app.turns
        known = turns.loaded is not None and turns.loaded.can_switch_thinking
        words = {True: say("tui.status.think_on"), False: say("tui.status.think_off"), None: ""}
        self._status.thinking = words[turns.think] if known else ""

    # A reply that grows

    def _draw_reply(self) -> None:
        """Draw what came since the last time."""
        if self._growing is not None:
            self._growing.draw()

    def _draw_reply_when_due(self) -> None:
        """Draw what came, unless a key is about to be drawn."""
        now = time.monotonic()
        if self.app.is_key_pending and now - self._drew_reply_at < MAX_POSTPONED_SECONDS:
            return
        self._drew_reply_at = now
        self._draw_reply()
        if now - self._counted_at >= COUNT_SECONDS:
            self._counted_at = now
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
        self._status.context_used = reply.prompt_tokens + reply.output_tokens
        if reply.context_limit:
            self._status.context_limit = reply.context_limit

    @work(exclusive=True, group="context")
    async def _measure_context(self) -> None:
        """Find out how the rounds share the window."""
        from chatui.prompting.window import reply_reserve
        from chatui.tui.context_use import measure_context_use

        turns, store = self.app.turns, self.app.store
        current, reply = turns.current, turns.reply_here
        if current.id is None or current.head_id is None:
            self._status.context = None
            return
        try:
            rounds = await asyncio.to_thread(store.rounds, current.id, current.head_id)
            read = await asyncio.to_thread(store.prompt, rounds[-1].id)
        except ChatuiError:
            # The conversation may have been deleted elsewhere.
            return
        tokens, dropped = rounds[-1].prompt_tokens, read.dropped_rounds if read else 0
        if reply is not None and reply.begun_round.id == rounds[-1].id:
            tokens, dropped = reply.prompt_tokens, reply.dropped_rounds
        limit = self._status.context_limit
        reserve = 0
        if limit:
            request = GenerateRequest("", sampling=current.changes.sampling_for(turns.spec))
            reserve = reply_reserve(turns.spec, request, limit)
        self._status.context = measure_context_use(rounds, tokens, dropped, reserve)

    # What is looked at

    async def _show_rounds(self, rounds: Sequence[Round]) -> None:
        turns = self.app.turns
        shown = turns.reply_here
        is_over = shown is not None and shown.ended
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
        if reply is not None and not (is_over and reply is shown):
            self._go_on_growing(reply, drawn_pieces)
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

    def _go_on_growing(self, reply: RunningReply, drawn_pieces: int) -> None:
        """Draw the rest of a reply that goes on in the conversation that was opened."""
        view = self._conversation.view_of(reply.begun_round.id)
        if view is None:
            # It was begun while the conversation was being opened.
            self._on_round_begun(reply.begun_round)
        else:
            self._growing = GrowingReply(reply, view, drawn_pieces)
        self._show_dropped_rounds()
        if reply.ended:
            self._on_round_ended(reply.round)
        else:
            self._drawing.resume()

    async def open_conversation(self, conversation_id: int, round_id: int | None = None) -> None:
        """Go on with a conversation; a reply in the one before goes on as well.

        Args:
            round_id: a round that is to be on the path that is looked at.
        """
        with self.reporting_errors():
            await self._show_rounds(await self.app.turns.open(conversation_id, round_id))

    async def show_new(self) -> None:
        """Begin a new conversation; a reply in the one before goes on."""
        self.app.turns.start_new()
        await self._show_rounds(())
        self._find_last_conversation()

    @work
    async def _refresh_list(self) -> None:
        """The list of conversations marks those in which a reply is being written."""
        if self.app.turns.reply is not None:
            await self.app.turns.reply.wait_until_saved()
        self.refresh_lists()

    def refresh_lists(self) -> None:
        """List the conversations anew where they are listed."""
        if self.open_list is not None and self.open_list.is_current:
            self.open_list.search(self.open_list.words)
        self.list_beside(self.app.turns.current.id)

    def list_beside(self, open_id: int | None) -> None:
        """List them anew in the side bar, if it is open."""
