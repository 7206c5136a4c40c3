"""A model that is loaded for one command, and Ctrl+C while it works."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from chatui.backends import registry
from chatui.backends.protocol import Backend
from chatui.cli.output import tell
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Loaded, Loading, ModelSpec

_CLEAR_LINE = "\r\x1b[K"


class Interrupt:
    """What Ctrl+C does, from press to press.

    Attributes:
        seen: whether Ctrl+C was pressed.
        ways: what the next presses do, each one more forceful; where there is none left, the
            command is cut off.
    """

    def __init__(self) -> None:
        self.seen = False
        self.ways: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._task: asyncio.Task[int] | None = None
        self._stopping: list[asyncio.Task[None]] = []

    def _pressed(self) -> None:
        self.seen = True
        if self.ways:
            self._stopping.append(asyncio.ensure_future(self.ways.pop(0)()))
        elif self._task is not None:
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
            with suppress(NotImplementedError):
                loop.remove_signal_handler(signal.SIGINT)


def run(work: Callable[[Interrupt], Coroutine[Any, Any, int]]) -> int:
    """Run ``work`` in a loop of its own with Ctrl+C under control; its exit code."""

    async def main() -> int:
        interrupt = Interrupt()
        return await interrupt.guard(work(interrupt))

    return asyncio.run(main())


@asynccontextmanager
async def loaded(spec: ModelSpec, interrupt: Interrupt) -> AsyncIterator[tuple[Backend, Loaded]]:
    """The backend of ``spec`` with the model in it; closed in the end, whatever happens.

    Raises:
        ChatuiError: the model cannot be loaded.
    """
    backend = registry.create(spec.backend)
    interrupt.ways = [backend.close]
    try:
        answer: Loaded | None = None
        async for event in backend.load(spec):
            if isinstance(event, Loaded):
                answer = event
            else:
                _show(event)
        _show(None)
        if answer is None:
            raise AssertionError("the load ended without Loaded")
        for note in answer.notes:
            tell(note)
        yield backend, answer
    finally:
        _show(None)
        await backend.close()


def _show(progress: Loading | None) -> None:
    """One line of progress that is written over, on a terminal alone; None wipes it off."""
    if not sys.stderr.isatty():
        return
    words = ""
    if progress is not None:
        done, total = progress.done_bytes, progress.total_bytes
        share = f" {done / total:.0%}" if total else ""
        words = say("cli.loading", stage=progress.stage, share=share)
    with suppress(OSError):
        sys.stderr.write(_CLEAR_LINE + words)
        sys.stderr.flush()
