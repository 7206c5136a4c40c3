"""The app while another process holds the store's write lock."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import walk
from driven import Driven
from saved_conversations import add_conversation

from chatui.conversation.store import Store
from chatui.tui.screens import model_picker

HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
db.execute("COMMIT")
"""


class StandingStill:
    """Measures the longest block of the event loop, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            self.longest, before = max(self.longest, now - before), now


@asynccontextmanager
async def lock_held(file: Path) -> AsyncIterator[StandingStill]:
    """Hold the write lock in another process, and measure how long the loop is blocked."""
    command = [sys.executable, "-c", HOLD, str(file)]
    holder = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    assert holder.stdout is not None and holder.stdin is not None
    await holder.stdout.readline()
    still = StandingStill()
    watching = asyncio.ensure_future(still.watch())
    try:
        yield still
        assert holder.returncode is None
    finally:
        holder.stdin.close()
        await holder.wait()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    # A loop that waits for the lock would wait for the sixty seconds.
    assert still.longest < 10, f"the loop stood still for {still.longest:.2f} s"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatui.conversation.database.BUSY_SECONDS", 60)


async def test_typing_goes_on_while_another_process_writes(drive: Any, tmp_path: Path) -> None:
    file = tmp_path / "conversations.db"
    store = Store(file)
    other = add_conversation(store, ("甲", "春"), ("乙", "夏"))
    async with drive(["春风又绿", "二"], delay_seconds=0.02, store=store) as on:
        await on.ask("问")
        async with lock_held(file):
            await on.pilot.press("q", "enter")
            await on.pilot.press("alt+left", *"typed on", "ctrl+o")
            assert on.box.query_text == "typed on"
            assert "Waiting: q" in on.screen_text
            await on.pilot.press("ctrl+b")
            await on.until(lambda: "2 rounds" in on.screen_text)
            await on.pilot.press("escape")
        await on.settled()
        assert [each.reply for each in on.rounds] == ["春风又绿", "二"]
        assert [each.reply for each in store.rounds(other)] == ["春", "夏"]
    store.close()


async def test_notes_titles_and_ratings_do_not_wait_for_another_process(
    drive: Any, tmp_path: Path
) -> None:
    file = tmp_path / "conversations.db"
    store = Store(file)
    async with drive(["春风又绿"], store=store) as on:
        await on.ask("问")
        async with lock_held(file):
            for command in ("/note 佳句", "/title 新题"):
                await on.send(command)
            await on.pilot.press("alt+j", "alt+u", "alt+u", "alt+r", "end", "!", "enter")
            await on.pilot.press(*"typed on")
            assert on.box.query_text == "typed on"
        await on.until(lambda: [each.title for each in store.conversations()] == ["新题"])
        await on.until(lambda: on.rounds[0].reply == "春风又绿!")
        first, _ = store.siblings(on.rounds[0].id)
        assert (first.rating, first.note) == (0, "佳句"), "twice the same takes it back"
    store.close()


async def test_every_screen_opens_while_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_picker, "list_models", lambda settings: walk.ENTRIES)
    file = tmp_path / "conversations.db"
    store = walk.stored(file)
    app = walk.app("en", store=store)
    async with app.run_test(size=(80, 24)) as pilot:
        on = Driven(app, pilot, app._backend, store)
        async with lock_held(file):
            async for name in walk.walk(on):
                if name == "candidates":
                    # What follows is a reply, and has to be saved.
                    break
    store.close()
