"""Another process holds the store's write lock: the screen goes on."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from saved_conversations import add_conversation

from chatui.conversation.store import Store

HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
db.execute("COMMIT")
"""


async def test_typing_goes_on_while_another_process_writes(
    drive: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatui.conversation.database.BUSY_SECONDS", 60)
    file = tmp_path / "conversations.db"
    store = Store(file)
    other = add_conversation(store, ("甲", "春"), ("乙", "夏"))
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()

    async with drive(["春风又绿", "二"], delay_seconds=0.02, store=store) as on:
        await on.ask("问")
        command = [sys.executable, "-c", HOLD, str(file)]
        holder = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        assert holder.stdout is not None and holder.stdin is not None
        await holder.stdout.readline()
        watching = asyncio.ensure_future(watch())
        await on.pilot.press("q", "enter")
        await on.send("/title 新题")
        await on.pilot.press("alt+u", "alt+r", "end", *"改", "enter")
        await on.pilot.press("alt+left", *"typed on", "ctrl+o")
        assert on.box.query_text == "typed on"
        assert "Waiting: q" in on.screen_text
        await on.pilot.press("ctrl+b")
        await on.until(lambda: "2 rounds" in on.screen_text)
        await on.pilot.press("escape")
        assert holder.returncode is None
        holder.stdin.close()
        await holder.wait()
        await on.settled()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        assert [each.reply for each in on.rounds] == ["春风又绿", "二"]
        first, corrected = store.siblings(on.rounds[0].id)
        assert first.rating == 1
        assert corrected.reply == "春风又绿改"
        assert "新题" in [each.title for each in store.conversations()]
        assert [each.reply for each in store.rounds(other)] == ["春", "夏"]
    store.close()
    # A loop that waits for the lock would wait for the sixty seconds.
    assert longest < 10, f"the loop stood still for {longest:.2f} s"
