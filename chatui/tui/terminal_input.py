"""Input from the terminal: pastes are read as plain text, and keys keep the order of typing.

Textual sends each key to the focused box at once, and runs its binding only after the key has
bubbled up to the app. If ``ab⌫c`` arrives in one burst (a slow line, an input method, a macro), the
``c`` is inserted before the ``⌫`` deletes, and keys after F2 go to the wrong screen.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module

from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.app import App
from textual.dom import DOMNode
from textual.events import Key, Paste
from textual.message import Message
from textual.widgets import Input, TextArea

from chatui.tui.editing import is_typed_text

MAX_WAIT_SECONDS = 0.5
"""Maximum seconds that a key waits for the keys before it."""

_DRIVER = "textual.drivers.win32" if sys.platform == "win32" else "textual.drivers.linux_driver"


class TerminalInput(XTermParser):
    """A parser that reads a bracketed paste as plain text up to its end mark.

    Textual's parser also looks for key sequences in pastes: after an ESC in a paste it reads the
    rest as keys, such as Enter and Ctrl+Q. It also ends the app if the terminal is closed without
    SIGHUP (the signal goes to the session's leader only); Textual would read in an endless loop.
    """

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
        self._hang_up: select.poll | None = None
        if sys.platform != "win32" and sys.__stdin__ is not None and sys.__stdin__.isatty():
            self._hang_up = select.poll()
            self._hang_up.register(sys.__stdin__, 0)
        self._last = ""
        self._pasted: list[str] | None = None

    def feed(self, data: str) -> Iterable[Message]:
        if not data:
            yield from super().feed(data)
        while data:
            if self._pasted is None:
                part, data = self._split_at_start(data)
                yield from super().feed(part)
                continue
            # The end mark may be split between two reads.
            data, self._last = self._last + data, ""
            text, end, data = data.partition(BRACKETED_PASTE_END)
            if not end:
                kept = len(text) - len(BRACKETED_PASTE_END) + 1
                self._pasted.append(text[: max(kept, 0)])
                self._last = text[max(kept, 0) :]
                return
            pasted, self._pasted = "".join((*self._pasted, text)), None
            for message in super().feed(end):
                yield Paste(pasted) if isinstance(message, Paste) else message

    def tick(self) -> Iterable[Message]:
        if self._hang_up is not None and any(e & select.POLLHUP for _, e in self._hang_up.poll(0)):
            # The text so far is saved, and a reply is recovered as after a crash.
            os.kill(os.getpid(), signal.SIGTERM)
        for message in super().tick():
            if self._pasted is None:
                # The pending ESC was a key press, not the start of a mark.
                self._last = ""
            yield message

    def _split_at_start(self, data: str) -> tuple[str, str]:
        """Split after the first start mark of a paste; without one, return all and ""."""
        seen = self._last + data
        at = seen.find(BRACKETED_PASTE_START)
        if at < 0:
            self._last = seen[1 - len(BRACKETED_PASTE_START) :]
            return data, ""
        end = at + len(BRACKETED_PASTE_START) - len(self._last)
        self._last, self._pasted = "", []
        return data[:end], data[end:]


def install() -> None:
    """Make Textual's driver use :class:`TerminalInput`; it has no parameter for the parser."""
    setattr(import_module(_DRIVER), "XTermParser", TerminalInput)  # noqa: B010


def is_text(event: Key, focused: DOMNode | None) -> bool:
    """Return whether a key types into the focused box, which keeps the order itself."""
    return is_typed_text(event) and isinstance(focused, Input | TextArea)


async def wait_for_messages(node: DOMNode) -> None:
    """Wait until a widget and its ancestors up to the screen have handled their messages."""
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_wait_for_ancestors(node), MAX_WAIT_SECONDS)


async def _wait_for_ancestors(node: DOMNode) -> None:
    for pump in node.ancestors_with_self:
        if isinstance(pump, App):
            return
        done = asyncio.Event()
        if pump.is_running and pump.call_later(done.set):
            await done.wait()
