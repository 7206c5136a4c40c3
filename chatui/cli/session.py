"""Load a model for one command, and handle Ctrl+C while it works."""

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
from chatui.messages import Loaded, Loading, ModelSpec


class InterruptHandler:
    """Handles Ctrl+C: the first press ends a running reply; any other press ends the command.

    Attributes:
        seen: whether Ctrl+C was pressed.
        replying: whether a reply runs that can be ended.
        backend: what is told to go; None while there is none.
    """

    def __init__(self) -> None:
        self.seen = False
        self.replying = False
        self.backend: Backend | None = None
        self._task: asyncio.Task[int] | None = None
        self._consequences: list[asyncio.Task[None]] = []

    def _pressed(self) -> None:
        ending = self._end_reply() if self.replying and not self.seen else self._end_command()
        self._consequences.append(asyncio.ensure_future(ending))
        self.seen = True

    async def _end_reply(self) -> None:
        if self.backend is not None:
            await self.backend.stop()

    async def _end_command(self) -> None:
        # Closed first: what is cancelled in mid-load waits for the engine, unless it is gone.
        if self.backend is not None:
            await self.backend.close()
        if self._task is not None:
            self._task.cancel()

    async def guard(self, work: Coroutine[Any, Any, int]) -> int:
        """Run ``work``; raises KeyboardInterrupt if Ctrl+C cut it off."""
        self._task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        # Windows has no signal handlers in a loop; there Ctrl+C ends the command at once.
        with suppress(NotImplementedError):
            loop.add_signal_handler(signal.SIGINT, self._pressed)
        try:
            return await self._task
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        except ChatuiError:
            # The engine was told to go: its end is no error.
            if self.seen:
                raise KeyboardInterrupt from None
            raise
        finally:
            await asyncio.gather(*self._consequences, return_exceptions=True)
            with suppress(NotImplementedError):
                loop.remove_signal_handler(signal.SIGINT)


def run(work: Callable[[InterruptHandler], Coroutine[Any, Any, int]]) -> int:
    """Run ``work`` in a loop of its own with Ctrl+C under control; its exit code."""

    async def main() -> int:
        interrupt = InterruptHandler()
        return await interrupt.guard(work(interrupt))

    return asyncio.run(main())


@asynccontextmanager
async def loaded_model(
    spec: ModelSpec, interrupt: InterruptHandler
) -> AsyncIterator[tuple[Backend, Loaded]]:
    """The backend of ``spec`` with the model in it; closed at the end.

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
    """Load a model, with its progress on standard error.

    Raises:
        ChatuiError: it cannot be loaded.
    """
    line = StatusLine(sys.stderr)
    answer: Loaded | None = None
    async for event in backend.load(spec):
        if isinstance(event, Loaded):
            answer = event
        else:
            line.show(_words(event))
    clear_status_line()
    if answer is None:
        raise AssertionError("the load ended without Loaded")
    return answer


def write_notes(loaded: Loaded) -> None:
    """Tell what the user should know of a model."""
    for note in loaded.notes:
        write_stderr(note)


def _words(progress: Loading) -> str:
    done, total = progress.done_bytes, progress.total_bytes
    share = f" {done / total:.0%}" if total else ""
    return say("cli.loading", stage=progress.stage, share=share)
