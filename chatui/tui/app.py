"""The terminal app."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual import events
from textual.app import App
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.geometry import Offset

from chatui.backends.protocol import Backend
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.settings import Settings
from chatui.text import in_quotes, without_surrogates
from chatui.tui import keymap, terminal_input, themes
from chatui.tui.screens.chat import ChatScreen
from chatui.tui.turn_messages import ModelReady, TurnMessage
from chatui.tui.turns_app import TurnsApp

if TYPE_CHECKING:
    from chatui.conversation.transcript_recorder import RecordingStore

_CLIPBOARD_SECONDS = 5.0


class ChatApp(TurnsApp):
    """The app: conversations in the store, with one model at a time."""

    TITLE = "chatui"
    ENABLE_COMMAND_PALETTE = False
    # Textual does not read the CSS_PATH of the default screen, so its stylesheets are named here.
    CSS_PATH = [  # noqa: RUF012  # as the base class has it
        str(Path(__file__).parent / sheet)
        for sheet in (
            "screens/chat.tcss",
            "widgets/completion_list.tcss",
            "widgets/conversation_view.tcss",
            "widgets/fetch_bar.tcss",
            "widgets/prose.tcss",
            "widgets/query_box.tcss",
            "widgets/round_list.tcss",
            "widgets/status_line.tcss",
            "widgets/welcome.tcss",
        )
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "tui.keys.quit", priority=True),
    ]

    def __init__(
        self,
        settings: Settings,
        spec: ModelSpec,
        store: Store,
        backend: Backend | None = None,
        notices: Sequence[str] = (),
    ) -> None:
        """
        Args:
            spec: the model of the start.
            backend: runs that model; None creates the backend that the spec names.
            notices: warnings to show at the start.
        """
        self._own_cursor_position = Offset(0, 0)
        terminal_input.install()
        super().__init__(settings, spec, store, backend)
        self._notices = list(notices)
        self._chat: ChatScreen | None = None
        if settings.keys:
            self._notices += keymap.rebind(self, settings.keys)
        else:
            keymap.reset()
        themes.prepare(self)
        theme = settings.theme
        if theme not in self.available_themes:
            self._notices.append(say("tui.notice.no_theme", name=in_quotes(theme)))
            theme = themes.DARK.name
        # set_reactive skips the watcher, which would apply all stylesheets a second time.
        self.set_reactive(App.theme, theme)
        self.stylesheet.set_variables(self.get_css_variables())

    def _build_driver(self, *args: Any, **kwargs: Any) -> Driver:
        driver = super()._build_driver(*args, **kwargs)
        if self.settings.ambiguous_width == 2:
            from chatui.tui import ambiguous_width

            ambiguous_width.widen()
            setattr(driver, "write", ambiguous_width.writing_ascii_lines(driver.write))  # noqa: B010
        return driver

    def get_default_screen(self) -> ChatScreen:
        self._chat = ChatScreen()
        return self._chat

    def on_mount(self) -> None:
        if (recording := self._recording) is not None:
            recording.on_problem = self._show_recording_error
        for notice in self._notices:
            self.tell_user(notice, "warning")

    @property
    def _recording(self) -> RecordingStore | None:
        """The store if it records a transcript; the recorder is imported only then."""
        if type(self.store) is Store:
            return None
        from chatui.conversation.transcript_recorder import RecordingStore

        return self.store if isinstance(self.store, RecordingStore) else None

    def _show_recording_error(self, error: ChatuiError) -> None:
        # Called in the store's thread.
        self.call_later(self.tell_user, str(error))

    async def on_event(self, event: events.Event) -> None:
        is_new_key = isinstance(event, events.Key) and not event.is_forwarded
        if is_new_key:
            self.last_key_at = time.monotonic()
        if not (is_new_key and await self._run_key_binding(cast(events.Key, event))):
            await super().on_event(event)

    async def _run_key_binding(self, event: events.Key) -> bool:
        """Run the action of a key, in the order of typing; return whether it has one."""
        before = self.screen
        focused = self.focused or before
        if terminal_input.is_text(event, self.focused):
            return False
        await terminal_input.wait_for_messages(focused)
        ran = await self._check_bindings(event.key, priority=True) or await self._check_bindings(
            event.key
        )
        if ran and self.screen is before:
            await terminal_input.wait_for_messages(focused)
        return ran

    def copy_to_clipboard(self, text: str) -> None:
        """Copy to the terminal's and the system's clipboard; lone surrogates become U+FFFD."""
        text = without_surrogates(text)
        super().copy_to_clipboard(text)
        # In a browser, the user's clipboard belongs to another system.
        if not self.is_web:
            self.run_worker(asyncio.to_thread(copy_to_system, text), group="clipboard")

    @property
    def cursor_position(self) -> Offset:
        """The position of the terminal's cursor, where input methods open their window.

        Read at each redraw, so that it follows every change of the layout.
        """
        focused = self.screen.focused if self._screen_stack else None
        offset = getattr(focused, "cursor_screen_offset", None)
        return offset if isinstance(offset, Offset) else self._own_cursor_position

    @cursor_position.setter
    def cursor_position(self, offset: Offset) -> None:
        self._own_cursor_position = offset

    def handle_turn_message(self, message: TurnMessage) -> None:
        if isinstance(message, ModelReady) and (recording := self._recording) is not None:
            from chatui.catalog.model_description import model_description

            recording.set_model(partial(model_description, message.spec, message.loaded))
        if self._chat is not None and self._chat.is_running:
            self._chat.handle_turn_message(message)


def copy_to_system(text: str) -> None:
    """Copy ``text`` with the first clipboard program that is installed, if there is one.

    This serves terminals without the OSC 52 sequence.
    """
    command = clipboard_command()
    if command:
        try:
            subprocess.run(
                command,
                input=text.encode("utf-8", "replace"),
                # The program stays in the background and would keep inherited pipes open.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_CLIPBOARD_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            # The terminal has received the text already.
            return


def clipboard_command() -> tuple[str, ...]:
    """Return the command of the first installed program, or ()."""
    known: list[tuple[str, ...]] = [("pbcopy",)] if sys.platform == "darwin" else []
    if os.environ.get("WAYLAND_DISPLAY"):
        known.append(("wl-copy",))
    if os.environ.get("DISPLAY"):
        known += [("xclip", "-selection", "clipboard"), ("xsel", "--input", "--clipboard")]
    return next((each for each in known if shutil.which(each[0])), ())
