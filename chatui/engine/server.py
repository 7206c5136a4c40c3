"""The engine's main loop: one command at a time, in the process's main thread."""

from __future__ import annotations

import sys
import traceback

from chatui import wire
from chatui.engine.pipe import Pipe, take_over_standard_streams
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Failed


def main() -> None:
    """Serve standard input until it ends."""
    pipe = take_over_standard_streams()
    pipe.start()
    serve(pipe)


def serve(pipe: Pipe) -> None:
    """Answer commands for ever; an error ends its command and never the process."""
    # Imported after the reader has started: the parent may die while torch loads.
    from transformers.utils import logging

    from chatui.engine.engine import Engine

    logging.disable_progress_bar()
    engine = Engine()
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
