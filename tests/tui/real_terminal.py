"""chatui in a pseudo-terminal, with a terminal emulator."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pexpect
import pyte

KEYS = {
    "enter": "\r",
    "escape": "\x1b",
    "ctrl+b": "\x02",
    "ctrl+c": "\x03",
    "ctrl+j": "\n",
    "ctrl+n": "\x0e",
    "ctrl+o": "\x0f",
    "ctrl+q": "\x11",
    "ctrl+r": "\x12",
    "up": "\x1b[A",
    "f1": "\x1bOP",
    "f2": "\x1bOQ",
}


class Screen(pyte.Screen):
    """A stream without the private forms of SGR (key modes), which pyte reads as colours."""

    def select_graphic_rendition(self, *attrs: int, private: bool = False, **kwargs: Any) -> None:
        if not private:
            super().select_graphic_rendition(*attrs)

    def report_device_status(self, mode: int, private: bool = False, **kwargs: Any) -> None:
        if not private:
            super().report_device_status(mode)


class RealTerminal:
    """A program in a terminal of ``columns`` x ``rows``."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        rows: int = 24,
        **environment: str,
    ) -> None:
        self.screen = Screen(columns, rows)
        self.raw = ""
        self._stream = pyte.Stream(self.screen)
        # A size in the environment would override the terminal's.
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        self.child = pexpect.spawn(
            command[0],
            list(command[1:]),
            env={**inherited, "TERM": "xterm-256color", **environment},
            dimensions=(rows, columns),
            encoding="utf-8",
            codec_errors="replace",
            timeout=60,
        )
        self.child.delaybeforesend = None

    def read(self, seconds: float = 0.05) -> None:
        """Read the program's output for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                data = self.child.read_nonblocking(65536, timeout=left)
            except pexpect.TIMEOUT:
                continue
            except pexpect.EOF:
                return
            self.raw = (self.raw + data)[-200_000:]
            # Remove the sequences of the kitty keyboard protocol, which other terminals ignore.
            for sequence in ("\x1b[>1u", "\x1b[>25u", "\x1b[<u"):
                data = data.replace(sequence, "")
            self._stream.feed(data)

    @property
    def text(self) -> str:
        """The text of the screen; a wide character counts as one."""
        rows, columns = range(self.screen.lines), range(self.screen.columns)
        cells = self.screen.buffer
        return "\n".join("".join(cells[y][x].data for x in columns).rstrip() for y in rows)

    def until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"it did not come; on the screen:\n{self.text}")
            self.read()

    def until_shown(self, text: str, seconds: float = 60) -> None:
        self.until(lambda: text in self.text, seconds)

    def type(self, text: str) -> None:
        self.child.send(text)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.child.send(KEYS[key])
            self.read(0.15 if key == "escape" else 0.02)

    def paste(self, text: str) -> None:
        """Paste as a terminal with bracketed paste does."""
        data = f"\x1b[200~{text}\x1b[201~".encode()
        while data:
            # Read the program's output meanwhile, or both would block.
            sent = os.write(self.child.child_fd, data[:4096])
            data = data[sent:]
            self.read(0.0005)

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        self.child.setwinsize(rows, columns)

    def first_child(self) -> int:
        """The id of the engine's process."""
        found = subprocess.run(
            ["pgrep", "-P", str(self.child.pid)], capture_output=True, text=True, check=True
        )
        return int(found.stdout.split()[0])

    def kill(self) -> None:
        """Kill the program with SIGKILL."""
        self.child.kill(signal.SIGKILL)
        self.child.wait()

    def end(self) -> int | None:
        """Wait for the program to end, and return its exit code."""
        with suppress(pexpect.EOF):
            self.child.expect(pexpect.EOF, timeout=20)
        self.child.close()
        return self.child.exitstatus
