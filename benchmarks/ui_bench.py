"""Helpers of the benchmarks of the screen."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from textual.pilot import Pilot

from chatui import locations
from chatui.messages import (
    Done,
    GenerateRequest,
    Inspection,
    Loaded,
    LoadEvent,
    ModelSpec,
    Prefill,
    ReplyEvent,
    Token,
)
from chatui.tui.app import ChatApp
from chatui.tui.widgets.query_box import QueryBox

# As chatui.cli.main sets it.
gc.set_threshold(100_000, 20, 100)
SPEC = ModelSpec("shiyou", str(locations.assets_folder() / "shiyou"))


class SilentBackend:
    """A backend without a model that streams ``text`` at a given speed."""

    def __init__(self, text: str = "", tokens_per_second: float = 200.0) -> None:
        self.text = text
        self.tokens_per_second = tokens_per_second
        self._stopped = False

    async def load(self, spec: ModelSpec) -> AsyncIterator[LoadEvent]:
        yield Loaded(spec.name, "gpt2", "chatglm-6b", 1_000_000)

    async def generate(self, request: GenerateRequest) -> AsyncIterator[ReplyEvent]:
        self._stopped = False
        yield Prefill("", 10, 0, 1_000_000)
        started = time.perf_counter()
        for number, character in enumerate(self.text, 1):
            if self._stopped:
                break
            await asyncio.sleep(
                max(0, started + number / self.tokens_per_second - time.perf_counter())
            )
            yield Token(character, number)
        yield Done(self.text, "eos")

    async def inspect(self, request: GenerateRequest, top: int = 8) -> Inspection:
        return Inspection("")

    async def stop(self) -> None:
        self._stopped = True

    async def close(self) -> None:
        self._stopped = True


@contextmanager
def loop_steps() -> Iterator[list[float]]:
    """Collect the processor time of each step of the event loop."""
    run, steps = asyncio.Handle._run, []

    def timed(handle: asyncio.Handle) -> None:
        began = time.thread_time()
        run(handle)
        steps.append(time.thread_time() - began)

    asyncio.Handle._run = timed  # type: ignore[method-assign]
    try:
        yield steps
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]


async def key_seconds(app: ChatApp, pilot: Pilot[Any], count: int) -> list[float]:
    """Press ``count`` keys; return the time until each is in a frame."""
    from textual import events

    box = app.screen_stack[0].query_one(QueryBox)
    box.load_text("")
    await pilot.pause()
    drawn = asyncio.Event()
    app.post_display_hook = drawn.set  # type: ignore[method-assign]
    seconds = []
    for number in range(count):
        key = "abcdefgh"[number % 8]
        expected = len(box.text) + 1
        started = time.perf_counter()
        app.post_message(events.Key(key, key))
        while len(box.text) < expected:  # noqa: ASYNC110  # no event is sent
            await asyncio.sleep(0)
        drawn.clear()
        await drawn.wait()
        seconds.append(time.perf_counter() - started)
        await asyncio.sleep(0.003)
    return seconds
