"""The widgets of the main screen, from the title down to the status line."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from textual import work
from textual._callback import invoke
from textual.app import ComposeResult
from textual.content import Content
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Input, Static

from chatui.conversation.rounds import Conversation
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line
from chatui.tui.model_names import display_name, reply_author
from chatui.tui.screens import COMPACT_BELOW_CELLS, NARROW_BELOW_CELLS, SHORT_BELOW_ROWS
from chatui.tui.widgets.conversation_view import ConversationView, MoreBelow
from chatui.tui.widgets.fetch_bar import FetchBar
from chatui.tui.widgets.query_box import PurposeLine, QueryBox, WaitingList
from chatui.tui.widgets.status_line import StatusLine
from chatui.tui.widgets.welcome import Welcome

if TYPE_CHECKING:
    from chatui.tui.first_start import Findings
    from chatui.tui.screens.picker import Picker
    from chatui.tui.turns_app import TurnsApp

Result = TypeVar("Result")

FRAMES_PER_SECOND = 60
"""Maximum redraws per second for key presses."""

_YOUNG_OBJECTS = 2_000
"""New objects between two collections of the youngest generation, each of about a millisecond."""


class ChatLayout(Screen[None]):
    """The widgets of the main screen and their first contents.

    Attributes:
        findings: what the welcome suggests; None until it is known.
    """

    app: TurnsApp

    def __init__(self) -> None:
        super().__init__()
        self.findings: Findings | None = None
        self._last: Conversation | None = None
        self._drew_key_at = 0.0

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
        self._status.model = one_line(display_name(reply_author(self.app.turns.spec)))
        self._box.focus()
        self.watch(self, "focused", self._show_keys, init=False)
        self.call_after_refresh(self._after_first_paint)

    def on_idle(self) -> None:
        """Draw a key press now; Textual's timer would draw it up to two frames later."""
        now = time.monotonic()
        if (
            self.app.is_key_pending
            and (self._dirty_widgets or self._layout_required)
            and now - self._drew_key_at > 1 / FRAMES_PER_SECOND
        ):
            self._drew_key_at = now
            self._on_timer_update()

    async def on_resize(self, event: Resize) -> None:
        before = self.classes
        self.set_class(event.size.height < SHORT_BELOW_ROWS, "-short", update=False)
        self.set_class(event.size.width < COMPACT_BELOW_CELLS, "-compact", update=False)
        if self.classes != before:
            self.update_node_styles()
        self.query("SidePanel").set_class(event.size.width < NARROW_BELOW_CELLS, "-narrow")
        # Let other tasks run before the layout, which may be followed by another resize.
        await asyncio.sleep(0)

    def _after_first_paint(self) -> None:
        if gc.get_threshold()[0] > _YOUNG_OBJECTS:
            # The command postponed garbage collection for the start. Objects made so far stay and
            # are not scanned again; one collection of them all would block for 0.1 s.
            gc.freeze()
            gc.set_threshold(_YOUNG_OBJECTS, 5, 200)
        self.app.start_turns()
        self._prepare_markdown()
        self._find_last_conversation()
        self._inspect_machine()

    @work
    async def _prepare_markdown(self) -> None:
        """Import the Markdown parser and the highlighter before a reply needs them."""
        from chatui.tui.markdown import code_colours, inline

        await asyncio.to_thread(inline.load_parser)
        await asyncio.to_thread(code_colours.colour_line, "", "python", code_colours.START)

    # The welcome

    @work
    async def _inspect_machine(self) -> None:
        """Suggest other models if the embedded one is loaded."""
        if not any(welcome.is_poet for welcome in self.query(Welcome)):
            return
        from chatui.tui import first_start

        settings = self.app.settings
        self.findings = await asyncio.to_thread(first_start.inspect_machine, settings)
        self._suggest()
        # In a thread, because the client takes long to import.
        search = first_start.first_server_model(settings)
        server_model = await asyncio.to_thread(asyncio.run, search)
        if server_model is not None:
            self.findings = replace(self.findings, server_model=server_model)
            self._suggest()

    def _suggest(self) -> None:
        for welcome in self.query(Welcome):
            welcome.findings = self.findings

    @work
    async def _find_last_conversation(self) -> None:
        """Offer the conversation used last, and mark rounds that a killed chatui left open."""
        store = self.app.store
        with self.reporting_errors():
            self._last = await asyncio.to_thread(store.last_conversation)
            if self.app.turns.conversation is None:
                for welcome in self.query(Welcome):
                    welcome.last = self._last
            await store.queued(store.recover_rounds)

    def _greeting(self) -> Welcome:
        return Welcome(self.app.turns.spec, self._last, self.findings)

    # The title and the keys

    def _show_title(self) -> None:
        conversation = self.app.turns.conversation
        title = conversation.title if conversation is not None else ""
        words = one_line(title) if title else say("tui.title.new")
        # The query is empty if the app is closing.
        for line in self.query("#title").results(Static):
            line.update(Content(words))

    async def reload_title(self) -> None:
        """Read the title of the conversation again and show it."""
        current = self.app.turns.current
        if current.id is None:
            return
        with suppress(ChatuiError):
            current.saved = await asyncio.to_thread(self.app.store.conversation, current.id)
        self._show_title()

    def _show_keys(self) -> None:
        """Show the keys of the focused widget, else those of the chosen round or running reply."""
        nodes = [] if self.focused is None else self.focused.ancestors_with_self
        found = filter(None, (getattr(node, "footer_keys", "") for node in nodes))
        chosen = "overview.footer.chosen" if self._conversation.has_chosen else ""
        default = "overview.footer.replying" if self.app.turns.is_replying_here else chosen
        words = next(found, default)
        self._status.keys = say(words) if words else ""

    def on_conversation_view_round_chosen(self) -> None:
        self._show_keys()

    # Messages and lists

    async def show_picker(
        self,
        picker: Picker[Result, Any],
        take: Callable[[Result], object],
        cancel: Callable[[], object] = lambda: None,
    ) -> None:
        """Open a list and focus its search box, so that the next key goes there.

        Args:
            take: called with the choice before the next key is handled.
            cancel: called if the user chooses nothing.
        """

        async def chosen(result: Result | None) -> None:
            await (invoke(cancel) if result is None else invoke(take, result))

        await self.app.push_screen(picker, chosen)
        picker.set_focus(picker.query_one(Input))

    @contextmanager
    def reporting_errors(self, *unsent: str) -> Iterator[None]:
        """Show a :class:`ChatuiError` raised in the block to the user.

        Args:
            unsent: texts to put back into the query box after an error.
        """
        try:
            yield
        except ChatuiError as error:
            self.app.tell_user(str(error))
            self._give_back(unsent)

    def _give_back(self, queries: Sequence[str]) -> None:
        """Put unsent queries into the query box, before the text that is there."""
        if queries:
            typed = self._box.query_text
            self._box.set_query("\n".join([*queries, typed] if typed else queries))
