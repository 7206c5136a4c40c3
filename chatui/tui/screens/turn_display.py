"""The conversation on the screen, and what the turns tell of it."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from textual import work
from textual.app import ComposeResult
from textual.content import Content
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Static

from chatui.conversation.rounds import Conversation, Round
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest
from chatui.text import one_line
from chatui.tui.model_names import author_of, shown_name
from chatui.tui.running_reply import RunningReply
from chatui.tui.screens import BESIDE_CELLS, TALL_ROWS, WIDE_CELLS
from chatui.tui.turn_messages import (
    LoadFailed,
    LoadProgress,
    ModelReady,
    PromptRead,
    RoundBegun,
    RoundEnded,
    Trouble,
    TurnMessage,
    WaitingChanged,
)
from chatui.tui.widgets.conversation_view import ConversationView
from chatui.tui.widgets.fetch_bar import FetchBar
from chatui.tui.widgets.more_below import MoreBelow
from chatui.tui.widgets.purpose_line import PurposeLine
from chatui.tui.widgets.query_box import QueryBox
from chatui.tui.widgets.round_view import RoundView
from chatui.tui.widgets.status_line import StatusLine, progress_words
from chatui.tui.widgets.waiting_list import WaitingList
from chatui.tui.widgets.welcome import Welcome, greeting_of

if TYPE_CHECKING:
    from chatui.tui.first_start import Found
    from chatui.tui.screens.conversations import ConversationsScreen
    from chatui.tui.turns_app import TurnsApp

UPDATES_PER_SECOND = 30
"""So often, at most, a growing reply is drawn."""

FRAMES_PER_SECOND = 60
"""So often, at most, the screen is drawn because of a key."""

LONGEST_WAIT_SECONDS = 0.1
"""Keys are drawn before a growing reply, but not for longer than this."""

COUNTS_SECONDS = 0.2
"""So often, at most, the numbers that grow with a reply are drawn; faster ones cannot be read."""

_YOUNG_OBJECTS = 2_000
"""Garbage is looked for each time that so many objects were made: a millisecond."""


class TurnDisplay(Screen[None]):
    """The conversation, the query box, and one line of facts; without the keys."""

    app: TurnsApp

    def __init__(self) -> None:
        super().__init__()
        self.open_list: ConversationsScreen | None = None
        self._growing: RoundView | None = None
        self._drawn_pieces = 0
        self._grew_at = self._counted_at = self._drew_key_at = 0.0
        self._is_opening = False
        self._load_began = 0.0
        self._last: Conversation | None = None
        self.found: Found | None = None

    def compose(self) -> ComposeResult:
        yield Static(say("tui.title.new"), id="title", markup=False)
        conversation = ConversationView(self._greeting(), id="conversation")
        yield conversation
        yield MoreBelow(conversation)
        yield WaitingList()
        yield FetchBar()
        yield PurposeLine()
        yield QueryBox(id="query")
        yield StatusLine()

    def on_mount(self) -> None:
        self._conversation = self.query_one(ConversationView)
        self._box = self.query_one(QueryBox)
        self._status = self.query_one(StatusLine)
        self._drawing = self.set_interval(
            1 / UPDATES_PER_SECOND, self._draw_growth_in_time, pause=True
        )
        self._status.model = one_line(shown_name(author_of(self.app.turns.spec)))
        self._box.focus()
        self.watch(self, "focused", self._show_keys, init=False)
        self.call_after_refresh(self._after_first_paint)

    def on_idle(self) -> None:
        """Draw a key that was pressed; Textual's timer would wait for up to two frames."""
        now = time.monotonic()
        if (
            self.app.is_key_first
            and (self._dirty_widgets or self._layout_required)
            and now - self._drew_key_at > 1 / FRAMES_PER_SECOND
        ):
            self._drew_key_at = now
            self._on_timer_update()

    def on_resize(self, event: Resize) -> None:
        before = self.classes
        self.set_class(event.size.height < TALL_ROWS, "-short", update=False)
        self.set_class(event.size.width < WIDE_CELLS, "-compact", update=False)
        if self.classes != before:
            self.update_node_styles()
        self.query("SidePanel").set_class(event.size.width < BESIDE_CELLS, "-narrow")

    def _after_first_paint(self) -> None:
        if gc.get_threshold()[0] > _YOUNG_OBJECTS:
            # The command put collecting off for the start; what it made stays, and is not looked
            # through again. One collection of many objects would be a hitch of 0.1 s.
            gc.freeze()
            gc.set_threshold(_YOUNG_OBJECTS, 5, 200)
        self.app.start_turns()
        if self.app.opened is not None:
            self._open_at_start(self.app.opened)
        self._prepare_markdown()
        self._find_last_conversation()
        self._look_around()

    @work
    async def _open_at_start(self, conversation_id: int) -> None:
        await self.open_conversation(conversation_id)

    @work
    async def _look_around(self) -> None:
        """Say what is here to someone who has only the model that ships."""
        if not any(welcome.is_poet for welcome in self.query(Welcome)):
            return
        from chatui.tui import first_start

        settings = self.app.settings
        self.found = await asyncio.to_thread(first_start.look_around, settings)
        self._suggest()
        asking = first_start.first_server_model(settings)
        # A client takes long to import, and that in the loop would be a hitch.
        server_model = await asyncio.to_thread(asyncio.run, asking)
        if server_model is not None:
            self.found = replace(self.found, server_model=server_model)
            self._suggest()

    def _suggest(self) -> None:
        for welcome in self.query(Welcome):
            welcome.suggest(self.found)

    @work
    async def _prepare_markdown(self) -> None:
        """Import what reads Markdown before a reply has some."""
        from chatui.tui.markdown import code_colours, inline

        await asyncio.to_thread(inline.prepare)
        await asyncio.to_thread(code_colours.colour_line, "", "python", code_colours.START)

    @work
    async def _find_last_conversation(self) -> None:
        """Offer the conversation used last, and mark what a dead chatui left behind."""
        store = self.app.store
        try:
            self._last = await asyncio.to_thread(store.last_conversation)
            if self.app.turns.conversation is None:
                for welcome in self.query(Welcome):
                    welcome.offer(self._last)
            await store.queued(store.recover)
        except ChatuiError as error:
            self._tell_user(str(error))

    # What the turns tell

    def take(self, message: TurnMessage) -> None:
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
            case LoadProgress(spec, loading):
                self._status.model = one_line(shown_name(author_of(spec)))
                if not loading.done_bytes:
                    self._load_began = time.monotonic()
                self._status.activity = progress_words(
                    loading.stage,
                    loading.done_bytes,
                    loading.total_bytes,
                    time.monotonic() - self._load_began,
                )
            case ModelReady(spec, loaded):
                for welcome in self.query(Welcome):
                    welcome.greet(greeting_of(spec))
                self._status.model = one_line(shown_name(author_of(spec, loaded)))
                self._status.activity = ""
                self._status.device = say("tui.status.small") if loaded.passed_over else ""
                self._show_thinking()
                # What was measured of the model before says nothing of this one.
                self._status.tokens_per_second = 0
                if self._status.context_limit not in (0, loaded.context_limit):
                    self._status.context_used = 0
                self._status.context_limit = loaded.context_limit
                self._measure_context()
                for note in loaded.notes:
                    self.app.tell_once(note)
            case LoadFailed():
                self._on_load_failed(message)
            case Trouble():
                self._give_back(message.queries)
                self._tell_user(message.sentence)

    def _on_round_begun(self, round_: Round) -> None:
        self._show_reply_elsewhere()
        if self._is_opening or not self._is_here(round_):
            return
        self._growing = self._conversation.add(round_)
        self._drawn_pieces = 0
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
            self.app.tell_once(note)

    def _on_round_ended(self, round_: Round) -> None:
        self._refresh_list()
        self._show_reply_elsewhere()
        if round_.state != "stopped":
            self.app.tell_away(say("tui.hint.ended", query=one_line(round_.query, 60)))
        if not self._is_here(round_):
            if round_.state != "stopped":
                self._tell_reply_elsewhere_ended(round_)
            return
        self._draw_growth()
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

    @work
    async def _refresh_list(self) -> None:
        """The list of conversations marks those in which a reply is being written."""
        if self.app.turns.reply is not None:
            await self.app.turns.reply.saved()
        self.refresh_lists()

    def refresh_lists(self) -> None:
        """List the conversations anew where they are listed."""
        if self.open_list is not None and self.open_list.is_current:
            self.open_list.search(self.open_list.words)
        self.list_beside(self.app.turns.current.id)

    def list_beside(self, open_id: int | None) -> None:
        """List them anew in the side bar, if it is open."""

    def _on_load_failed(self, message: LoadFailed) -> None:
        self._give_back(message.waiting)
        turns = self.app.turns
        self._status.model = one_line(shown_name(author_of(turns.spec)))
        self._status.activity = "" if turns.loaded else say("tui.status.not_loaded")
        self._tell_user(message.sentence)

    def _draw_growth(self) -> None:
        """Draw what came since the last time."""
        reply = self.app.turns.reply_here
        if self._growing is None or reply is None or len(reply.pieces) == self._drawn_pieces:
            return
        new = reply.pieces[self._drawn_pieces :]
        self._drawn_pieces += len(new)
        self._growing.grow("".join(piece.text for piece in new))

    def _draw_growth_in_time(self) -> None:
        """Draw what came, unless a key is about to be drawn."""
        now = time.monotonic()
        if self.app.is_key_first and now - self._grew_at < LONGEST_WAIT_SECONDS:
            return
        self._grew_at = now
        self._draw_growth()
        if now - self._counted_at >= COUNTS_SECONDS:
            self._counted_at = now
            self._show_counts()

    def _show_dropped_rounds(self) -> None:
        reply = self.app.turns.reply_here
        if self._growing is not None and reply is not None and reply.dropped_rounds:
            self._growing.set_dropped_rounds(reply.dropped_rounds)

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
        from chatui.tui.context_use import context_use

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
        if reply is not None and reply.begun.id == rounds[-1].id:
            tokens, dropped = reply.prompt_tokens, reply.dropped_rounds
        limit = self._status.context_limit
        reserve = 0
        if limit:
            request = GenerateRequest("", sampling=current.changes.of(turns.spec))
            reserve = reply_reserve(turns.spec, request, limit)
        self._status.context = context_use(rounds, tokens, dropped, reserve)

    def _show_keys(self) -> None:
        """The keys worth knowing now: of what is focused, which says so, or of what goes on."""
        nodes = [] if self.focused is None else self.focused.ancestors_with_self
        found = filter(None, (getattr(node, "footer_keys", "") for node in nodes))
        chosen = "overview.footer.chosen" if self._conversation.has_chosen else ""
        going_on = "overview.footer.replying" if self.app.turns.replying_here else chosen
        words = next(found, going_on)
        self._status.keys = say(words) if words else ""

    def on_conversation_view_round_chosen(self) -> None:
        self._show_keys()

    def _give_back(self, queries: Sequence[str]) -> None:
        """Put queries that were not sent into the box, before what is being typed."""
        if queries:
            typed = self._box.query_text
            self._box.set_query("\n".join([*queries, typed] if typed else queries))

    def _tell_user(self, sentence: str, severity: str = "error") -> None:
        if sentence:
            self.app.tell_user(sentence, severity)

    # What is looked at

    async def _show_rounds(self, rounds: Sequence[Round]) -> None:
        turns = self.app.turns
        shown = turns.reply_here
        is_over = shown is not None and shown.ended
        self._growing = None
        self._drawing.pause()
        self._drawn_pieces = 0 if shown is None else len(shown.pieces)
        self._is_opening = True
        await self._conversation.show(rounds, self._greeting())
        self._is_opening = False
        self._box.remember([round_.query for round_ in rounds])
        self._show_counts()
        if rounds:
            self._status.context_used = rounds[-1].prompt_tokens + rounds[-1].output_tokens
        self._measure_context()
        reply = turns.reply_here
        if reply is not None and not (is_over and reply is shown):
            self._go_on_growing(reply)
        self._show_reply_elsewhere()
        self._show_title()
        self.refresh_lists()
        self._show_keys()

    def _show_reply_elsewhere(self) -> None:
        turns, words = self.app.turns, say("tui.status.replying_elsewhere")
        if turns.replying and not turns.replying_here:
            self._status.activity = words
        elif self._status.activity == words:
            self._status.activity = ""

    def _go_on_growing(self, reply: RunningReply) -> None:
        """Draw the rest of a reply that goes on in the conversation that was opened."""
        self._growing = self._conversation.view_of(reply.begun.id)
        if self._growing is None:
            # It was begun while the conversation was being opened.
            self._on_round_begun(reply.begun)
        self._show_dropped_rounds()
        if reply.ended:
            self._on_round_ended(reply.round)
        else:
            self._drawing.resume()

    def _greeting(self) -> Welcome:
        return Welcome(greeting_of(self.app.turns.spec), self._last, self.found)

    def _show_title(self) -> None:
        conversation = self.app.turns.conversation
        title = conversation.title if conversation is not None else ""
        words = one_line(title) if title else say("tui.title.new")
        self.query_one("#title", Static).update(Content(words))

    async def open_conversation(self, conversation_id: int, round_id: int | None = None) -> None:
        """Go on with a conversation; a reply in the one before goes on as well.

        Args:
            round_id: a round that is to be on the path that is looked at.
        """
        try:
            rounds = await self.app.turns.open(conversation_id, round_id)
        except ChatuiError as error:
            self._tell_user(str(error))
            return
        await self._show_rounds(rounds)

    async def show_new(self) -> None:
        """Begin a new conversation; a reply in the one before goes on."""
        self.app.turns.new()
        await self._show_rounds(())
        self._find_last_conversation()

    def _show_thinking(self) -> None:
        turns = self.app.turns
        known = turns.loaded is not None and turns.loaded.can_switch_thinking
        words = {True: say("tui.status.think_on"), False: say("tui.status.think_off"), None: ""}
        self._status.thinking = words[turns.think] if known else ""

    async def show_title_again(self) -> None:
        """The conversation may have another title."""
        current = self.app.turns.current
        if current.id is None:
            return
        with suppress(ChatuiError):
            current.saved = await asyncio.to_thread(self.app.store.conversation, current.id)
        self._show_title()
