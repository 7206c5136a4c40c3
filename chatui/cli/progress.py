"""Progress of a long command: a bar on a terminal, occasional lines elsewhere."""

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

REPORTED_RECORDS = 20
"""Maximum number of unreadable records that are reported one by one."""


class ProgressDisplay:
    """Shows the progress of a command."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Show it on ``stream`` (default: standard output)."""
        self._line = StatusLine(stream or sys.stdout)
        self._last_tenth = -1
        self._last_line = time.monotonic()

    def update(self, share: float, text: str) -> None:
        """Show the share that is done, from 0 to 1, and the text beside the bar."""
        if self._line.is_live:
            from rich.cells import cell_len

            cells = min(_BAR_CELLS, self._line.cells - cell_len(text) - 1)
            bar = readable.progress_bar(share, cells) + " " if cells >= _LEAST_BAR_CELLS else ""
            self._line.show(bar + text)
            return
        tenth = int(10 * share)
        due = time.monotonic() - self._last_line >= _LINE_EVERY_SECONDS
        if tenth > self._last_tenth or due:
            self._last_tenth, self._last_line = tenth, time.monotonic()
            write(text + "\n")


def skipped_records_reporter() -> Callable[[str], None]:
    """Return a function that writes the first sentences, then once that more records follow."""
    count = 0

    def report(sentence: str) -> None:
        nonlocal count
        count += 1
        if count <= REPORTED_RECORDS + 1:
            write_stderr(say("import.import.more") if count > REPORTED_RECORDS else sentence)

    return report


@contextmanager
def opening_progress() -> Iterator[Callable[[], None]]:
    """Yield a function to call while the history opens; after a second it shows the progress."""
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
