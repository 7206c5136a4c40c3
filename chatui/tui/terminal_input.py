"""What the terminal sends: pastes are text and nothing else, keys keep the order of typing.

Textual hands every key to the focused box at once, and looks for its binding only when the key has
come up again from there to the app. Of ``ab⌫c`` in one burst (a slow line, an input method, a
macro) the ``c`` is typed before the ``⌫`` deletes, and what follows F2 goes to the wrong screen.
"""

from __future__ import annotations

import asyncio
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

PATIENCE_SECONDS = 0.5
"""A key waits no longer than this for what was typed before it."""

_DRIVER = "textual.drivers.win32" if sys.platform == "win32" else "textual.drivers.linux_driver"


class TerminalInput(XTermParser):
    """Takes a bracketed paste as it is, up to its end mark.

    Textual's own parser looks for key sequences in pastes too: after an ESC in one it takes the
    rest for keys, among them Enter and Ctrl+Q.
    """

    def __init__(self, debug: bool = False) -> None:
        super().__init__(debug)
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
            # The end mark may come in two reads.
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
        for message in super().tick():
            if self._pasted is None:
                # An Esc that was pressed begins no mark.
                self._last = ""
            yield message

    def _split_at_start(self, data: str) -> tuple[str, str]:
        """What comes up to the end of a start mark, and what comes after it."""
        seen = self._last + data
        at = seen.find(BRACKETED_PASTE_START)
        if at < 0:
            self._last = seen[1 - len(BRACKETED_PASTE_START) :]
            return data, ""
        end = at + len(BRACKETED_PASTE_START) - len(self._last)
        self._last, self._pasted = "", []
        return data[:end], data[end:]


def install() -> None:
    """Have Textual's driver read with :class:`TerminalInput`; it takes no parser as an argument."""
    setattr(import_module(_DRIVER), "XTermParser", TerminalInput)  # noqa: B010


def is_text(event: Key, focused: DOMNode | None) -> bool:
    """Whether a key only adds to what is typed into the focused box, which keeps the order."""
    return is_typed_text(event) and isinstance(focused, Input | TextArea)


async def wait_for_messages(node: DOMNode) -> None:
    """Wait until a widget, and then all around it up to its screen, took in what they were sent."""
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_wait_for_ancestors(node), PATIENCE_SECONDS)


async def _wait_for_ancestors(node: DOMNode) -> None:
    for pump in node.ancestors_with_self:
        if isinstance(pump, App):
            return
        done = asyncio.Event()
        if pump.is_running and pump.call_later(done.set):
            await done.wait()
