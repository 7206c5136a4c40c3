"""Longest pause of the screen with extreme replies and while the terminal is resized.

    python benchmarks/bad_replies.py [--json]

The app runs headless at 100 x 30. Each reply streams in pieces of 20 characters, at most 1,000 a
second, and is then opened from the store. The pause is the longest step of the event loop, in
processor time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from multiprocessing import get_context

from long_conversation import REPLY
from ui_bench import SPEC, SilentBackend, loop_steps

from chatui.conversation.store import Store
from chatui.messages import Done, GenerateRequest, Prefill, ReplyEvent, Token
from chatui.settings import Settings
from chatui.tui.app import ChatApp
from chatui.tui.screens.chat import ChatScreen

PIECE = 20
DEEP = 400
REPLIES = {
    "one line of 50,000 characters": "东风吹雨过**春城**，夜半花开。"[:16] * 3125,
    "one word of 50,000 letters": "x" * 50_000,
    "5,000 code fences": "```python\nx = 1\n```\n" * 2500,
    "5,000 openings of fences": "```\n~~~\n" * 2500,
    "lists 400 deep": "".join("  " * depth + "- 深\n" for depth in range(DEEP)),
    "quotes 400 deep": "".join("> " * depth + "深\n" for depth in range(DEEP)),
    "50,000 marks": "*_`[" * 12_500,
    "a table of 2,000 rows": "| 甲 | 乙 |\n|---|---|\n" + "| 苹果 | 1 |\n" * 2000,
    "a table of 500 columns": ("| 甲 " * 500 + "|\n" + "|---" * 500 + "|\n")
    + ("| 1 " * 500 + "|\n") * 10,
}
SIZES = ((140, 45), (1, 1), (80, 24), (20, 5), (200, 60), (40, 12))


class PiecesBackend(SilentBackend):
    """Streams a text in longer pieces."""

    async def generate(self, request: GenerateRequest) -> AsyncIterator[ReplyEvent]:
        self._stopped = False
        yield Prefill("", 10, 0, 1_000_000)
        for start in range(0, len(self.text), PIECE):
            if self._stopped:
                break
            await asyncio.sleep(0.001)
            yield Token(self.text[start : start + PIECE], start)
        yield Done(self.text, "eos")


async def stream(text: str, *, resizing: bool = False) -> float:
    """Return the longest pause while a reply streams."""
    store = Store(None)
    backend = PiecesBackend(text)
    app = ChatApp(Settings(), SPEC, store, backend)
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause(0.5)
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        choose = random.Random(1)
        with loop_steps() as steps:
            app.turns.ask("go")
            await pilot.pause(0.1)
            if resizing:
                for _ in range(60):
                    await pilot.resize_terminal(*choose.choice(SIZES))
                    await pilot.pause(0.02)
                app.turns.stop()
            while app.turns.is_busy:  # noqa: ASYNC110  # no event is sent
                await asyncio.sleep(0.05)
            await pilot.pause(0.2)
    store.close()
    return max(steps)


async def opened(text: str) -> float:
    """Return the longest pause while a conversation with a reply is opened and scrolled."""
    store = Store(None)
    begun = store.add_round(None, None, "问")
    store.finish_round(replace(begun, state="done", reply=text))
    app = ChatApp(Settings(), SPEC, store, SilentBackend())
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause(0.5)
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        with loop_steps() as steps:
            await screen.open_conversation(begun.conversation_id)
            await pilot.pause(0.5)
            for pages in (-1, -1, -1, 1, 1):
                screen._conversation.scroll_pages(pages)
                await pilot.pause(0.05)
    store.close()
    return max(steps)


def measured(name: str) -> dict[str, float]:
    """Return the longest pauses with a reply; "" is a normal one with a resizing terminal."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHATUI_HOME"] = folder
        if not name:
            ordinary = "".join(REPLY.format(n=n) for n in range(500))
            return {"streamed": asyncio.run(stream(ordinary, resizing=True))}
        text = REPLIES[name]
        return {"streamed": asyncio.run(stream(text)), "opened": asyncio.run(opened(text))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    names = ["", *REPLIES]
    # One process each, so that no garbage of other measurements is collected.
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        pauses = pool.map(measured, names, chunksize=1)
    longest = dict(zip(("60 resizes", *REPLIES), pauses, strict=True))
    if args.json:
        print(json.dumps(longest))
        return
    for name, found in longest.items():
        words = ", ".join(f"{how} {seconds * 1e3:.0f} ms" for how, seconds in found.items())
        print(f"{name + ':':<32} {words}")
    print("aim: <= 100 ms each")


if __name__ == "__main__":
    main()
