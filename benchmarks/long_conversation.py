"""Opening a conversation of 500 rounds, and typing in it against typing in an empty one.

    python benchmarks/long_conversation.py [--json]

The app runs headless at 100 x 30. "open" is from the call to the first frame with the last round
on it; "key" from a key press to the frame that shows it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from ui_bench import SPEC, SilentBackend, key_seconds

from chatui.conversation.store import Store
from chatui.settings import Settings
from chatui.tui.app import ChatApp
from chatui.tui.screens.chat import ChatScreen

ROUNDS = 500
KEYS = 120
POEM = "东风吹雨过春城，夜半花开月自明。\n莫问江南多少事，一声啼鸟到天明。\n" * 3


def fill(store: Store) -> int:
    """A conversation of ``ROUNDS`` rounds; its id."""
    conversation = store.create_conversation()
    parent = None
    for number in range(ROUNDS):
        begun = store.add_round(conversation.id, parent, f"第 {number} 首", model="shiyou")
        store.finish_round(replace(begun, state="done", reply=POEM))
        parent = begun.id
    return conversation.id


async def measure(store: Store, conversation_id: int) -> dict[str, float]:
    app = ChatApp(Settings(), SPEC, store, SilentBackend())
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause(0.3)
        empty = await key_seconds(app, pilot, KEYS)
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        started = time.perf_counter()
        await screen.open_conversation(conversation_id)
        await pilot.pause()
        opened = time.perf_counter() - started
        long = await key_seconds(app, pilot, KEYS)
        started = time.perf_counter()
        while screen._conversation._first_shown:
            screen._conversation.scroll_home(animate=False, immediate=True)
            await pilot.pause()
        scrolled = time.perf_counter() - started
        all_mounted = await key_seconds(app, pilot, KEYS)
    return {
        "open_seconds": opened,
        "key_seconds_empty": statistics.median(empty),
        "key_seconds_500_rounds": statistics.median(long),
        "scroll_to_the_top_seconds": scrolled,
        "key_seconds_all_500_mounted": statistics.median(all_mounted),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHATUI_HOME"] = folder
        store = Store(Path(folder) / "conversations.db")
        result = asyncio.run(measure(store, fill(store)))
        store.close()
    if args.json:
        print(json.dumps(result))
        return
    print(f"opening {ROUNDS} rounds: {result['open_seconds']:.2f} s (aim <= 1 s)")
    print(f"a key in an empty conversation: {result['key_seconds_empty'] * 1e3:.1f} ms (median)")
    print(f"a key in {ROUNDS} rounds: {result['key_seconds_500_rounds'] * 1e3:.1f} ms")
    print(f"scrolling up to the first round: {result['scroll_to_the_top_seconds']:.2f} s")
    print(f"a key after that: {result['key_seconds_all_500_mounted'] * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
