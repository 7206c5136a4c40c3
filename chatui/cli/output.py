"""Write to standard output and error.

Terminals get visible signs for control characters; pipes and files get the exact text.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from chatui.text import escape_json, fit_cells, one_line, plain_text


def prepare_streams() -> None:
    """Let standard output and error accept any text.

    Characters that cannot be encoded become escapes. Closed streams are redirected to the null
    device.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def write(text: str) -> None:
    """Write to standard output and flush; replaces the status line."""
    clear_status_line()
    sys.stdout.write(plain_text(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def write_line(sentence: str) -> None:
    """Write a sentence to standard output as one line."""
    write(" ".join(sentence.split()) + "\n")


def write_stderr(sentence: str) -> None:
    """Write a sentence to standard error, which may be closed; replaces the status line."""
    clear_status_line()
    with suppress(OSError, ValueError):
        print(one_line(sentence, None), file=sys.stderr, flush=True)


def write_json(value: object) -> None:
    """Write a JSON value and a newline; control characters are escaped."""
    unicode_out = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(value, ensure_ascii=not unicode_out)
    write(escape_json(text) + "\n")


def write_table(
    rows: Iterable[Sequence[str]],
    headings: Sequence[str] = (),
    indent: str = "",
    *,
    whole: bool = False,
) -> None:
    """Write rows in aligned columns; wide characters count as two cells.

    On a terminal, rows are cut at its width, unless ``whole``.
    """
    from rich.cells import cell_len

    lines = [[one_line(cell, None) for cell in row] for row in (headings, *rows) if row]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() and not whole else None
    for line in lines:
        padded = (c + " " * (w - cell_len(c)) for c, w in zip(line, widths, strict=True))
        text = (indent + "  ".join(padded)).rstrip()
        if width is not None:
            text = fit_cells(text, width)
        write(text + "\n")


class StatusLine:
    """A line of progress that the next output replaces; shown only on a terminal.

    Attributes:
        is_live: True if the line is shown.
    """

    def __init__(self, stream: TextIO) -> None:
        self.is_live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._stream = stream

    @property
    def cells(self) -> int:
        """Maximum width of the line in cells."""
        return shutil.get_terminal_size().columns - 1

    def show(self, text: str) -> None:
        """Replace the line by ``text``."""
        global _shown
        if self.is_live:
            # Set before writing, so that Ctrl+C in between does not leave the line.
            _shown = self
            self._write(fit_cells(plain_text(text), self.cells))

    def _write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write("\r\x1b[K" + text)
            self._stream.flush()


_shown: StatusLine | None = None


def clear_status_line() -> None:
    """Clear the status line."""
    global _shown
    if _shown is not None:
        _shown._write("")
        _shown = None


def discard_output() -> None:
    """Redirect standard output to the null device, after its reader closed it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
