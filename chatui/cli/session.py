"""Load a model for one command, and handle Ctrl+C meanwhile."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from chatui.backends import registry
from chatui.backends.protocol import Backend
from chatui.cli.output import StatusLine, clear_status_line, write_stderr
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Loaded, ModelSpec


class InterruptHandler:
    """Handles Ctrl+C: the first press stops a running reply; any other press ends the command.

    Attributes:
        seen: True once Ctrl+C was pressed.
        replying: set by the command while a reply can be stopped.
        backend: the backend in use; None before there is one.
    """

    def __init__(self) -> None:
        self.seen = False
        self.replying = False
        self.backend: Backend | None = None
        self._task: asyncio.Task[int] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def _pressed(self) -> None:
        self._tasks.append(asyncio.ensure_future(self._end(self.replying and not self.seen)))
        self.seen = True

    async def _end(self, only_reply: bool) -> None:
        if self.backend is not None:
            # Closed before the load is cancelled, which waits for the engine until it has ended.
            await (self.backend.stop() if only_reply else self.backend.close())
        if self._task is not None and not only_reply:
            self._task.cancel()

    async def guard(self, work: Coroutine[Any, Any, int]) -> int:
        """Run ``work``; raises KeyboardInterrupt if Ctrl+C ended it."""
        self._task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        # On Windows a loop has no signal handlers; Ctrl+C ends the command there.
        with suppress(NotImplementedError):
            loop.add_signal_handler(signal.SIGINT, self._pressed)
        try:
            return await self._task
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        except ChatuiError:
            # The error is the end of the engine that Ctrl+C closed.
            if self.seen:
                raise KeyboardInterrupt from None
            raise
        finally:
            await asyncio.gather(*self._tasks, return_exceptions=True)
            with suppress(NotImplementedError):
                loop.remove_signal_handler(signal.SIGINT)


def run(work: Callable[[InterruptHandler], Coroutine[Any, Any, int]]) -> int:
    """Run ``work`` in a new event loop, with Ctrl+C handled, and return its exit code."""

    async def main() -> int:
        interrupt = InterruptHandler()
        return await interrupt.guard(work(interrupt))

    return asyncio.run(main())


@asynccontextmanager
async def loaded_model(
    spec: ModelSpec, interrupt: InterruptHandler
) -> AsyncIterator[tuple[Backend, Loaded]]:
    """Load ``spec`` into a new backend, and close the backend at the end.

    Raises:
        ChatuiError: the model cannot be loaded.
    """
    backend = registry.create(spec.backend)
    interrupt.backend = backend
    try:
        answer = await load(backend, spec)
        write_notes(answer)
        yield backend, answer
    finally:
        await backend.close()


async def load(backend: Backend, spec: ModelSpec) -> Loaded:
    """Load a model and show the progress on standard error.

    Raises:
        ChatuiError: the model cannot be loaded.
    """
    line = StatusLine(sys.stderr)
    answer: Loaded | None = None
    async for event in backend.load(spec):
        if isinstance(event, Loaded):
            answer = event
        else:
            share = f" {event.done_bytes / event.total_bytes:.0%}" if event.total_bytes else ""
            line.show(say("cli.loading", stage=event.stage, share=share))
    clear_status_line()
    if answer is None:
        raise AssertionError("the load ended without Loaded")
    return answer


def write_notes(loaded: Loaded) -> None:
    """Write the notes of a loaded model to standard error."""
    for note in loaded.notes:
        write_stderr(note)
