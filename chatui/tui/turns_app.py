"""The app as its screens know it: settings, store, turns, and sentences for the user."""

from __future__ import annotations

import time
from typing import Any, cast

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
"""So long after a key was pressed its own frame is awaited, and nothing else is drawn."""

_NOTIFICATIONS = {"osc9": "9", "osc777": "777;notify;chatui"}
"""iTerm2's (https://iterm2.com/documentation-escape-codes.html) and rxvt-unicode's sequences."""


class TurnsApp(App[None]):
    """Runs the turns; a subclass shows what they tell.

    Attributes:
        known_adapters: those that were on a model since the start, which F3 offers again.
        opened: the conversation to begin with; None for a new one.
        last_key_at: when the last key was pressed, on the monotonic clock.
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
        self._told: set[str] = set()
        self.last_key_at = 0.0
        self.turns = ComparingTurns(spec, store, self._create_backend, self.handle_turn_message)

    @property
    def is_key_pending(self) -> bool:
        """Whether a key was just pressed, and what can wait should."""
        return time.monotonic() - self.last_key_at < KEY_PRIORITY_SECONDS

    def handle_turn_message(self, message: TurnMessage) -> None:
        """Show what happened in a turn."""
        raise NotImplementedError

    def start_turns(self) -> None:
        """Load the model and begin to answer; after the first paint, which is not to wait."""
        self.run_worker(self.turns.run(), name="turns", group="turns")

    def tell_user(self, sentence: str, severity: str = "error") -> None:
        """Show one sentence for a while."""
        if sentence:
            level = cast(SeverityLevel, severity)
            self.notify(plain_text(sentence), severity=level, timeout=NOTICE_SECONDS, markup=False)

    def notify(
        self, message: str, *, severity: SeverityLevel = "information", **options: Any
    ) -> None:
        """As Textual's; what a key did is told in place of what the one before it did."""
        if severity == "information":
            self.clear_hints()
        super().notify(message, severity=severity, **options)

    def clear_hints(self) -> None:
        """Take away what was told that was no warning and no error."""
        for told in [each for each in self._notifications if each.severity == "information"]:
            self._unnotify(told)

    def copy(self, text: str, nothing: str = "") -> None:
        """Copy, and say so.

        Args:
            nothing: what to say where there is no text.
        """
        if text:
            self.copy_to_clipboard(text)
        self.tell_user(say("tui.hint.copied") if text else nothing, "information")

    def send_desktop_notification(self, sentence: str) -> None:
        """Have the terminal tell ``sentence`` to someone who looks at another window."""
        kind, driver = self.settings.notify, self._driver
        if self.app_focus or kind == "off" or driver is None:
            return
        # A semicolon would begin another field.
        words = one_line(sentence, 200).replace(";", "；")
        if kind == "bell":
            self.bell()
        else:
            driver.write(f"\x1b]{_NOTIFICATIONS[kind]};{words}\x07")
            driver.flush()

    def warn_once(self, note: str) -> None:
        """Show a note that was not shown before: it holds for every round, and must not nag."""
        if note not in self._told:
            self._told.add(note)
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
