"""Time to open, scroll and type in a conversation of 1,000 rounds of Markdown.

    python benchmarks/long_conversation.py [--rounds 1000] [--json]

The app runs headless at 100 x 30. Opening ends with the first frame that shows the last round; a
key press ends with the frame that shows it. The longest pause is the longest step of the event
loop, in processor time.
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

from ui_bench import SPEC, SilentBackend, key_seconds, loop_steps

from chatui.conversation.store import Store
from chatui.settings import Settings
from chatui.tui.app import ChatApp
from chatui.tui.screens.chat import ChatScreen

KEYS = 60
REPLY = """## 第 {n} 首

东风吹雨过**春城**，夜半花开月自明。莫问`江南`多少事，一声啼鸟到天明。

- 先看[出处](https://example.org/{n})，再看*注释*
- 公式 $a_1 * b_{n}$ 照原样

```python
def poem(n: int = {n}) -> str:
    return "床前明月光" * n  # 疑是地上霜
```

| 名称 | 数量 |
|:-----|----:|
| 苹果 | {n} |
"""


def fill(store: Store, rounds: int) -> int:
    """Add a conversation of ``rounds`` rounds and return its id."""
    conversation_id = parent = None
    for number in range(rounds):
        begun = store.add_round(conversation_id, parent, f"第 {number} 首")
        store.finish_round(replace(begun, state="done", reply=REPLY.format(n=number)))
        conversation_id, parent = begun.conversation_id, begun.id
    assert conversation_id is not None
    return conversation_id


async def measure(store: Store, conversation_id: int) -> dict[str, float]:
    app = ChatApp(Settings(), SPEC, store, SilentBackend())
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause(0.5)
        empty = await key_seconds(app, pilot, KEYS)
        screen = app.screen
        assert isinstance(screen, ChatScreen)
        view = screen._conversation
        with loop_steps() as opening:
            started, spent = time.perf_counter(), time.process_time()
            await screen.open_conversation(conversation_id)
            await pilot.pause()
            opened, opened_cpu = time.perf_counter() - started, time.process_time() - spent
        long = await key_seconds(app, pilot, KEYS)
        pages = 0
        with loop_steps() as scrolling:
            started = time.perf_counter()
            while pages < 3 or view.scroll_y > 0:
                view.scroll_pages(-1)
                await pilot.pause()
                pages += 1
            scrolled = time.perf_counter() - started
        after = await key_seconds(app, pilot, KEYS)
    return {
        "open_seconds": opened,
        "open_cpu_seconds": opened_cpu,
        "open_pause_seconds": max(opening),
        "pages": pages,
        "scroll_seconds": scrolled,
        "scroll_pause_seconds": max(scrolling),
        "key_seconds_empty": statistics.median(empty),
        "key_seconds_long": statistics.median(long),
        "key_seconds_after_scrolling": statistics.median(after),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHATUI_HOME"] = folder
        store = Store(Path(folder) / "conversations.db")
        result = asyncio.run(measure(store, fill(store, args.rounds)))
        store.close()
    if args.json:
        print(json.dumps(result))
        return
    print(
        f"opening {args.rounds:,} rounds: {result['open_seconds']:.2f} s on the clock, "
        f"{result['open_cpu_seconds']:.2f} s of the processor (aim <= 0.3 s), "
        f"longest pause {result['open_pause_seconds'] * 1e3:.0f} ms"
    )
    print(
        f"scrolling {result['pages']} pages up to the first: {result['scroll_seconds']:.2f} s, "
        f"longest pause {result['scroll_pause_seconds'] * 1e3:.0f} ms (aim <= 50 ms)"
    )
    print(f"a key in an empty conversation: {result['key_seconds_empty'] * 1e3:.1f} ms (median)")
    print(f"a key in {args.rounds:,} rounds: {result['key_seconds_long'] * 1e3:.1f} ms")
    print(f"a key after scrolling: {result['key_seconds_after_scrolling'] * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
