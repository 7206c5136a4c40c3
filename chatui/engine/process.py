"""The engine's process: reads commands from standard input and writes events to standard output.

Commands and events are lines of JSON (:mod:`chatui.wire`). A thread reads them; the main thread
runs one command at a time.
"""

from __future__ import annotations

import gc
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chatui import wire
from chatui.engine.threads import limit_spinning
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Done, Event, Failed, Loaded

if TYPE_CHECKING:
    from chatui.engine.engine import Engine, Loader


def serve_llama_cpp() -> None:
    """Serve GGUF files with llama.cpp until standard input ends."""
    pipe = take_over_standard_streams()
    from chatui.engine import llama_cpp

    serve(pipe, llama_cpp)


def serve_torch() -> None:
    """Serve models with PyTorch until standard input ends."""
    pipe = take_over_standard_streams()
    limit_spinning()
    from transformers.utils import logging

    from chatui.engine import loading

    logging.disable_progress_bar()
    serve(pipe, loading)


class Pipe:
    """Reads commands from one file descriptor and writes events to another.

    A thread reads, so that ``Stop`` works while the main thread computes. It ends the process on
    ``Quit`` or at the end of the input, when the parent is gone, and queues all other commands.
    """

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._commands: queue.SimpleQueue[wire.Command] = queue.SimpleQueue()
        self._received = 0
        self._taken = 0
        self._stopped = 0
        self._sending = threading.Lock()
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
                elif isinstance(message, wire.Load | wire.Generate | wire.Inspect | wire.Score):
                    self._received += 1
                    self._commands.put(message)
        os._exit(0)

    def next_command(self) -> wire.Command:
        """Wait for the next command other than ``Stop`` and ``Quit``."""
        command = self._commands.get()
        self._taken += 1
        return command

    def stop_wanted(self) -> bool:
        """True if a ``Stop`` has arrived for the current command."""
        return self._stopped >= self._taken

    def has_next(self) -> bool:
        """True if a command is queued behind the current one."""
        return not self._commands.empty()

    def send(self, event: Event) -> None:
        """Write one event, from any thread; end the process if the pipe is closed."""
        line = memoryview(wire.encode(event))
        with self._sending:
            try:
                while line:
                    line = line[os.write(self._sink, line) :]
            except BrokenPipeError:
                os._exit(0)


def take_over_standard_streams() -> Pipe:
    """Return a pipe on standard input and output, which are moved to other file descriptors.

    A ``print`` of a library then goes to the log (standard error). The process starts its own
    group, so that Ctrl+C in the terminal reaches only the parent. It stays in the parent's session,
    because Linux shares the cores between sessions.
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


def serve(pipe: Pipe, loader: Loader) -> None:
    """Run commands in a loop; an error ends its command, and the process if the GPU is lost."""
    from chatui.engine.engine import Engine
    from chatui.engine.memory import is_gpu_lost, keep_small_blocks

    keep_small_blocks()
    engine = Engine(loader)
    # Exclude the imported modules from garbage collection, which each unload runs.
    gc.freeze()
    while True:
        command = pipe.next_command()
        answered = False
        try:
            for event in _answer(engine, command, pipe):
                pipe.send(event)
                answered = isinstance(event, Done | Loaded)
        except Exception as error:
            failed = failure(error)
            # After ``Done`` and ``Loaded`` the client expects the next command's events.
            if not answered:
                pipe.send(failed)
            if is_gpu_lost(error):
                # The next query starts a new process, which loads the model again.
                os._exit(1)


def _answer(engine: Engine, command: wire.Command, pipe: Pipe) -> Iterator[Event]:
    if isinstance(command, wire.Load):
        yield engine.load(command.spec, pipe.send)
        engine.warm_up(pipe.has_next)
    elif isinstance(command, wire.Generate):
        yield from engine.generate(command.request, pipe.stop_wanted)
    elif isinstance(command, wire.Inspect):
        yield engine.inspect(command.request, command.top)
    elif isinstance(command, wire.Score):
        yield engine.score(command.request, pipe.stop_wanted)


def failure(error: Exception) -> Failed:
    """Return the event for an error; log the traceback if it is not a ``ChatuiError``."""
    if isinstance(error, ChatuiError):
        return Failed(str(error), detail=repr(error.__cause__) if error.__cause__ else "")
    detail = "".join(traceback.format_exception(error))
    print(detail, file=sys.stderr, flush=True)
    from chatui.engine.memory import is_gpu_lost, is_out_of_memory

    name = type(error).__name__
    if is_gpu_lost(error):
        sentence = say("engine.gpu_lost")
    elif is_out_of_memory(error):
        sentence = say("engine.out_of_memory")
    else:
        sentence = say("engine.bug", error=f"{name}: {error}".split("\n")[0])
    return Failed(sentence, detail)
