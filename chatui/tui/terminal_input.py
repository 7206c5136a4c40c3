"""What the terminal sends, as Textual reads it, but for pastes, which are text and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module

from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.events import Paste
from textual.message import Message

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
