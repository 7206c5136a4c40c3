"""Progress of a long command: a line with a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from chatui import readable
from chatui.cli.output import StatusLine, clear_status_line, write, write_stderr
from chatui.locales import say

_BAR_CELLS = 20
_LEAST_BAR_CELLS = 4
_LINE_EVERY_SECONDS = 30.0


class ProgressDisplay:
    """Shows how far a command is."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Show it on ``stream``; None for standard output."""
        self._passing = StatusLine(stream or sys.stdout)
        self._last_tenth = -1
        self._last_line = time.monotonic()

    def progress(self, share: float, words: str) -> None:
        """How far it is, of 1, and the numbers to it."""
        if self._passing.is_live:
            from rich.cells import cell_len

            bar = _bar(share, self._passing.cells - cell_len(words) - 1)
            self._passing.show(bar + words)
            return
        tenth = int(10 * share)
        due = time.monotonic() - self._last_line >= _LINE_EVERY_SECONDS
        if tenth > self._last_tenth or due:
            self._last_tenth, self._last_line = tenth, time.monotonic()
            write(words + "\n")


def _bar(share: float, room: int) -> str:
    """A bar of at most ``room`` cells and the space behind it; the numbers come first."""
    cells = min(_BAR_CELLS, room)
    return readable.progress_bar(share, cells) + " " if cells >= _LEAST_BAR_CELLS else ""


@contextmanager
def opening_progress() -> Iterator[Callable[[], None]]:
    """What is to be called while the history is opened: after a second standard error says so."""
    line, began, shown = StatusLine(sys.stderr), time.monotonic(), 0

    def on_progress() -> None:
        nonlocal shown
        seconds = int(time.monotonic() - began)
        if seconds > shown:
            if not shown and not line.is_live:
                write_stderr(say("cli.opening_history"))
            shown = seconds
            line.show(say("cli.opening_history") + f" {seconds} s")

    try:
        yield on_progress
    finally:
        clear_status_line()
