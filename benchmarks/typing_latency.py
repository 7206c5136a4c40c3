"""Time from a key press to the screen while Markdown streams at 200 tokens per second beside F8.

    python benchmarks/typing_latency.py [--keys 400] [--json]

The app runs in a pseudo-terminal of 140 x 40 with the token panel open. Measures the time from
writing a key until the output shows the text with this key. The reference is the same app without a
reply. The reply is scripted, so only the screen is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from pseudo_terminal import Terminal

TOKENS_PER_SECOND = 200
APP = """
import sys
sys.path.insert(0, {folder!r})
from ui_bench import SPEC, SilentBackend
from long_conversation import REPLY
from chatui.conversation.store import Store
from chatui.settings import Settings
from chatui.messages import ModelSpec
from chatui.tui.app import ChatApp
from chatui import locales, locations
text = "东风吹雨\\n" + "".join(REPLY.format(n=n) for n in range(300))
backend = SilentBackend(text, {rate})
store = Store(locations.database_file())
locales.set_language("en")
ChatApp(Settings(), ModelSpec("talker", SPEC.path), store, backend).run()
"""


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def type_keys(terminal: Terminal, keys: int) -> list[float]:
    """Press ``keys`` keys at irregular intervals and return the time of each."""
    pace = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    typed = ""
    seconds = []
    for number in range(keys):
        if number % 60 == 59:
            # Ctrl+U empties the line, so that it does not wrap.
            terminal.send(b"\x15")
            terminal.drain(0.05)
            typed = ""
        key = pace.choice(letters)
        typed += key
        terminal.drain(pace.uniform(0.02, 0.06))
        started = time.perf_counter()
        terminal.send(key.encode())
        seconds.append(terminal.wait_for(typed[-8:].encode()) - started)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=400)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHATUI_HOME"] = folder
        script = APP.format(folder=str(Path(__file__).parent), rate=TOKENS_PER_SECOND)
        terminal = Terminal([sys.executable, "-c", script], 140, 40)
        try:
            terminal.wait_for(b"New conversation")
            terminal.drain(1.5)
            still = type_keys(terminal, args.keys // 2)
            terminal.send(b"\x15go\r")
            terminal.wait_for("东风".encode())
            # F8 opens the token panel, Esc returns the focus to the query box.
            terminal.send(b"\x1b[19~")
            terminal.drain(0.5)
            terminal.send(b"\x1b")
            terminal.drain(0.5)
            streaming = type_keys(terminal, args.keys)
        finally:
            terminal.kill()
    result = {
        name: {
            "p50_ms": statistics.median(values) * 1e3,
            "p99_ms": percentile(values, 0.99) * 1e3,
            "max_ms": max(values) * 1e3,
        }
        for name, values in (("still", still), ("streaming", streaming))
    }
    if args.json:
        print(json.dumps(result))
        return
    for name, numbers in result.items():
        words = ", ".join(f"{key[:-3]} {value:.1f} ms" for key, value in numbers.items())
        print(f"{name:>9}: {words}")
    print(f"aim: p99 <= 33 ms while a reply streams at {TOKENS_PER_SECOND} tokens per second")


if __name__ == "__main__":
    main()
