"""The engine's main loop: one command at a time, in the process's main thread."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Protocol

from chatui import wire
from chatui.engine.pipe import Pipe, take_over_standard_streams
from chatui.engine.threads import share_the_cores
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import (
    Failed,
    GenerateRequest,
    Inspection,
    Loaded,
    Loading,
    ModelSpec,
    ReplyEvent,
)


def main() -> None:
    """Serve standard input until it ends."""
    pipe = take_over_standard_streams()
    pipe.start()
    share_the_cores()
    # Imported after the reader has started: the parent may die while torch loads.
    from transformers.utils import logging

    from chatui.engine.engine import Engine

    logging.disable_progress_bar()
    serve(pipe, Engine())


class Answering(Protocol):
    """What a process serves: the methods of :class:`chatui.engine.engine.Engine`."""

    def load(self, spec: ModelSpec, report: Callable[[Loading], None]) -> Loaded: ...

    def generate(
        self, request: GenerateRequest, stop_wanted: Callable[[], bool]
    ) -> Iterator[ReplyEvent]: ...

    def inspect(self, request: GenerateRequest, top: int) -> Inspection: ...


def serve(pipe: Pipe, engine: Answering) -> None:
    """Answer commands for ever; an error ends its command and never the process."""
    while True:
        command = pipe.next_command()
        try:
            if isinstance(command, wire.Load):
                pipe.send(engine.load(command.spec, pipe.send))
            elif isinstance(command, wire.Generate):
                for event in engine.generate(command.request, pipe.stop_wanted):
                    pipe.send(event)
            elif isinstance(command, wire.Inspect):
                pipe.send(engine.inspect(command.request, command.top))
        except Exception as error:
            pipe.send(failure(error))


def failure(error: Exception) -> Failed:
    """The event for an error, and its traceback in the log where it is not the user's doing."""
    if isinstance(error, ChatuiError):
        return Failed(str(error), detail=repr(error.__cause__) if error.__cause__ else "")
    detail = "".join(traceback.format_exception(error))
    print(detail, file=sys.stderr, flush=True)
    # torch.OutOfMemoryError is a RuntimeError; on the CPU only the message tells.
    if isinstance(error, MemoryError) or "memory" in str(error).lower():
        return Failed(say("engine.out_of_memory"), detail)
    return Failed(
        say("engine.bug", error=f"{type(error).__name__}: {error}".split("\n")[0]), detail
    )
