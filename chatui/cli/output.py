"""Output: unsafe characters are made visible on a terminal, and text is exact in a pipe."""

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
    """Make standard output and error take any text: what cannot be encoded is written as escapes.

    A stream that the caller closed swallows everything.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def for_stream(text: str, stream: TextIO) -> str:
    """``text`` as it may go to ``stream``: made visible on a terminal, exact elsewhere."""
    return plain_text(text) if stream.isatty() else text


def write(text: str) -> None:
    """Write to standard output at once, in place of a passing line."""
    clear_status_line()
    sys.stdout.write(for_stream(text, sys.stdout))
    sys.stdout.flush()


def write_line(sentence: str) -> None:
    """Write a sentence to standard output, on one line."""
    write(" ".join(sentence.split()) + "\n")


def write_stderr(sentence: str) -> None:
    """Write a sentence to standard error, which may be closed, in place of a passing line."""
    clear_status_line()
    with suppress(OSError, ValueError):
        print(one_line(sentence, None), file=sys.stderr, flush=True)


def write_json(value: object) -> None:
    """One JSON value and a newline; every character that a terminal would obey is escaped."""
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
    """Rows in columns as wide as their widest cell, wide characters counted as two.

    A terminal gets what fits into its width, or all of it if ``whole``.
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
    """A line of progress that whatever is written next replaces; shown only on a terminal.

    Attributes:
        is_live: whether anything is shown at all.
    """

    def __init__(self, stream: TextIO) -> None:
        self.is_live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._stream = stream

    @property
    def cells(self) -> int:
        """Cells of the terminal that a line may take without going on in the next."""
        return shutil.get_terminal_size().columns - 1

    def show(self, text: str) -> None:
        """Show ``text`` in place of the line before."""
        global _shown
        if self.is_live:
            # First, so that Ctrl+C in the middle does not leave the line.
            _shown = self
            self._write(fit_cells(plain_text(text), self.cells))

    def _write(self, text: str) -> None:
        with suppress(OSError):
            self._stream.write("\r\x1b[K" + text)
            self._stream.flush()


_shown: StatusLine | None = None


def clear_status_line() -> None:
    """Wipe the passing line off."""
    global _shown
    if _shown is not None:
        _shown._write("")
        _shown = None


def discard_output() -> None:
    """Send the rest of standard output to the null device: its reader is gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
