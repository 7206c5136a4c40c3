"""The Textual driver of an app that runs in a web page."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any

from textual.drivers import web_driver
from textual.messages import ExitApp

from chatui.tui.terminal_input import TerminalInput


class PageDriver(web_driver.WebDriver):
    """Parses input with :class:`TerminalInput`, and ends the app when the server ends."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._write = self._send  # type: ignore[assignment]
        # Textual's driver has no parameter for the parser.
        setattr(web_driver, "XTermParser", TerminalInput)  # noqa: B010

    def _send(self, data: bytes) -> None:
        with suppress(BrokenPipeError):
            while data:
                data = data[os.write(self.fileno, data) :]

    def start_application_mode(self) -> None:
        self._loop = asyncio.get_running_loop()
        super().start_application_mode()

    def run_input_thread(self) -> None:
        super().run_input_thread()
        if not self.exit_event.is_set():
            # Standard input has ended, so the server was killed.
            asyncio.run_coroutine_threadsafe(self._app._post_message(ExitApp()), self._loop)
