"""The base class of the app that its screens refer to: settings, store, turns, messages."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import Any

from textual.app import App
from textual.notifications import SeverityLevel

from chatui.backends.protocol import Backend
from chatui.conversation.store import Store
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.settings import Settings
from chatui.text import one_line, plain_text
from chatui.tui.comparison import ComparingTurns
from chatui.tui.turn_messages import TurnMessage

NOTICE_SECONDS = 8

KEY_PRIORITY_SECONDS = 0.025
"""Seconds after a key press during which other redraws are postponed."""

_NOTIFICATIONS = {"osc9": "9", "osc777": "777;notify;chatui"}
"""Sequences of iTerm2 (https://iterm2.com/documentation-escape-codes.html) and rxvt-unicode."""


class TurnsApp(App[None]):
    """Runs the turns; a subclass shows their messages.

    Attributes:
        known_adapters: the adapters used since the start, which F3 lists.
        initial_conversation_id: the conversation to open at the start; None for a new one.
        last_key_at: the time of the last key press, ``time.monotonic()``.
    """

    def __init__(
        self, settings: Settings, spec: ModelSpec, store: Store, backend: Backend | None
    ) -> None:
        super().__init__()
        self.settings = settings
        self.store = store
        self.initial_conversation_id: int | None = None
        self.known_adapters: tuple[Adapter, ...] = ()
        self._backend, self._backend_name = backend, spec.backend
        self._warned: set[str] = set()
        self.last_key_at = 0.0
        self.turns = ComparingTurns(spec, store, self._create_backend, self.handle_turn_message)

    @property
    def is_key_pending(self) -> bool:
        """True just after a key press, when other redraws should wait."""
        return time.monotonic() - self.last_key_at < KEY_PRIORITY_SECONDS

    @abstractmethod
    def handle_turn_message(self, message: TurnMessage) -> None:
        """Show an event of the turns."""

    def start_turns(self) -> None:
        """Load the model and answer queries; called after the first paint."""
        self.run_worker(self.turns.run(), name="turns", group="turns")

    def tell_user(self, sentence: str, severity: SeverityLevel = "error") -> None:
        """Show a sentence for some seconds; "" shows nothing."""
        if sentence:
            words = plain_text(sentence)
            self.notify(words, severity=severity, timeout=NOTICE_SECONDS, markup=False)

    def hint(self, key: str, **values: object) -> None:
        """Show a sentence of the interface as an information; ``values`` fill its placeholders."""
        self.tell_user(say(key, **values), "information")

    def notify(
        self, message: str, *, severity: SeverityLevel = "information", **options: Any
    ) -> None:
        """Notify as Textual does; an information or an equal sentence replaces the one before."""
        if severity == "information":
            self.clear_hints()
        for equal in [each for each in self._notifications if each.message == message]:
            self._unnotify(equal)
        super().notify(message, severity=severity, **options)

    def clear_hints(self) -> None:
        """Remove all notifications except warnings and errors."""
        for hint in [each for each in self._notifications if each.severity == "information"]:
            self._unnotify(hint)

    def copy(self, text: str, nothing: str = "") -> None:
        """Copy a text and tell the user.

        Args:
            nothing: the sentence to show if ``text`` is empty.
        """
        if text:
            self.copy_to_clipboard(text)
        self.tell_user(say("tui.hint.copied") if text else nothing, "information")

    def send_desktop_notification(self, sentence: str) -> None:
        """Let the terminal notify the user, if another window has the focus."""
        kind, driver = self.settings.notify, self._driver
        if self.app_focus or kind == "off" or driver is None:
            return
        # A semicolon would begin the next field of the sequence.
        words = one_line(sentence, 200).replace(";", "；")
        if kind == "bell":
            self.bell()
        else:
            driver.write(f"\x1b]{_NOTIFICATIONS[kind]};{words}\x07")
            driver.flush()

    def warn_once(self, note: str) -> None:
        """Show a warning, once per start."""
        if note not in self._warned:
            self._warned.add(note)
            self.tell_user(note, "warning")

    async def action_quit(self) -> None:
        await self.turns.close()
        self.exit()

    async def on_unmount(self) -> None:
        await self.turns.close()

    def _create_backend(self, name: str) -> Backend:
        if self._backend is not None and name == self._backend_name:
            return self._backend
        from chatui.backends import registry

        return registry.create(name)
