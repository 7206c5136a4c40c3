"""The engine's end of the pipe: commands come in on a thread, events go out a line each."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Callable

from chatui import wire
from chatui.messages import Event


class Pipe:
    """Reads commands from one file descriptor and writes events to another.

    A ``Stop`` must work while the main thread computes, so a small thread reads: it notes a
    ``Stop`` at once, ends the process on ``Quit`` or at the end of the input (the parent is
    gone), and puts everything else into a queue.
    """

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._commands: queue.SimpleQueue[wire.Command] = queue.SimpleQueue()
        self._received = 0
        self._taken = 0
        self._stopped = 0
        self._sending = threading.Lock()

    def start(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read, name="pipe", daemon=True).start()

    def _read(self) -> None:
        with os.fdopen(self._source, "rb", buffering=1 << 16) as lines:
            for line in lines:
                try:
                    message = wire.decode(line)
                except ValueError as error:
                    print(f"chatui.engine: {error}", file=sys.stderr)
                    continue
                if isinstance(message, wire.Quit):
                    break
                if isinstance(message, wire.Stop):
                    self._stopped = self._received
                elif isinstance(message, wire.Load | wire.Generate | wire.Inspect):
                    self._received += 1
                    self._commands.put(message)
        os._exit(0)

    def next_command(self) -> wire.Command:
        """Wait for the next command that is neither ``Stop`` nor ``Quit``."""
        command = self._commands.get()
        self._taken += 1
        return command

    def stop_wanted(self) -> bool:
        """Whether a ``Stop`` came for the command that was taken last, not for one before it."""
        return self._stopped >= self._taken

    def send(self, event: Event) -> None:
        """Write one event, from any thread; ends the process if nobody reads any more."""
        line = memoryview(wire.encode(event))
        with self._sending:
            try:
                while line:
                    line = line[os.write(self._sink, line) :]
            except BrokenPipeError:
                os._exit(0)


def take_over_standard_streams() -> Pipe:
    """A pipe on the process's own standard input and output.

    Both are moved to other descriptors, so that a stray ``print`` of some library goes to the log
    (standard error) and nobody else reads commands. Ctrl+C in the terminal is the parent's affair:
    a process group of its own, but no session, for Linux divides the cores among sessions and
    would hold the engine short.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    source, sink = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return Pipe(source, sink)


StopWanted = Callable[[], bool]
"""Asked between two tokens: should the reply end here?"""
