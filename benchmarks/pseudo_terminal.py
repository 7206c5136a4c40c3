"""Run a program in a pseudo-terminal and wait for its output."""

from __future__ import annotations

import os
import pty
import select
import struct
import termios
import time
from collections.abc import Sequence
from contextlib import suppress
from fcntl import ioctl
from signal import SIGKILL


class Terminal:
    """A running ``command`` in a terminal of ``columns`` x ``rows``."""

    def __init__(self, command: Sequence[str], columns: int = 100, rows: int = 30) -> None:
        self.started = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
            os.execvp(command[0], list(command))
        ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.seen = b""

    def send(self, data: bytes) -> None:
        os.write(self.fd, data)

    def wait_for(self, wanted: bytes, timeout_seconds: float = 30.0) -> float:
        """Wait for ``wanted``, drop the output up to it, and return its ``perf_counter`` time."""
        deadline = time.perf_counter() + timeout_seconds
        while wanted not in self.seen:
            ready, _, _ = select.select([self.fd], [], [], deadline - time.perf_counter())
            if not ready:
                raise TimeoutError(f"{wanted!r} did not come; the last: {self.seen[-300:]!r}")
            self.seen = self.seen[-4096:] + os.read(self.fd, 65536)
        now = time.perf_counter()
        self.seen = self.seen[self.seen.index(wanted) + len(wanted) :]
        return now

    def drain(self, seconds: float) -> None:
        """Read and drop output for some seconds."""
        deadline = time.perf_counter() + seconds
        while (left := deadline - time.perf_counter()) > 0:
            if select.select([self.fd], [], [], left)[0]:
                os.read(self.fd, 65536)
        self.seen = b""

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)
