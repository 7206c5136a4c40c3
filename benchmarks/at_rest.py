"""Memory and processor use of the idle app with 10,000 rounds in its store.

    python benchmarks/at_rest.py [--rounds 10000] [--seconds 20] [--json]

Runs the complete command with the embedded model in a pseudo-terminal of 100 x 30, without input.
Compares the resident memory of the app's process with a bare Textual app with the same widgets; the
engine's process with torch and the model is listed separately. Processor time is that of both
processes. Linux only, as it reads /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from first_paint import BARE, MARK
from pseudo_terminal import Terminal
from searching import fill

from chatui.conversation.store import Store

SETTLING_SECONDS = 15


def children(pid: int) -> list[int]:
    """Return all descendants of a process."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, file.read_text().split()):
            found += [child, *children(child)]
    return found


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def spent_seconds(pid: int) -> float:
    """Return the processor time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(command: list[str], seconds: float) -> dict[str, float]:
    """Start an app, let it settle, and measure it."""
    terminal = Terminal(command)
    try:
        terminal.wait_for(MARK)
        terminal.drain(SETTLING_SECONDS)
        pids = [terminal.pid, *children(terminal.pid)]
        before = sum(map(spent_seconds, pids))
        terminal.drain(seconds)
        return {
            "app_bytes": resident_bytes(terminal.pid),
            "others_bytes": sum(map(resident_bytes, pids[1:])),
            "busy": (sum(map(spent_seconds, pids)) - before) / seconds,
        }
    finally:
        terminal.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(CHATUI_HOME=folder, CHATUI_LANG="en")
        store = Store(Path(folder) / "conversations.db")
        fill(store, args.rounds)
        store.close()
        bare = measure([sys.executable, "-c", BARE], args.seconds)
        chatui = measure([sys.executable, "-m", "chatui"], args.seconds)
    ratio = chatui["app_bytes"] / bare["app_bytes"]
    if args.json:
        print(json.dumps({"bare": bare, "chatui": chatui, "memory_ratio": ratio}))
        return
    print(f"bare Textual app: {bare['app_bytes'] / 1e6:.0f} MB, busy {bare['busy']:.2%}")
    print(
        f"chatui:           {chatui['app_bytes'] / 1e6:.0f} MB, busy {chatui['busy']:.2%} with its "
        f"engine of {chatui['others_bytes'] / 1e6:.0f} MB"
    )
    print(f"memory:           {ratio:.2f} of the bare app (aim <= 1.5); busy: aim < 1 %")


if __name__ == "__main__":
    main()
