"""Processor time of saving 200 tokens per second, to the store and to a transcript.

    python benchmarks/saving.py [--seconds 20]

Each token has its id, log probability and eight candidates, as in the app. Prints the processor
time of all threads as a share of the streaming time, minus that of the same stream without saving.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from chatui.conversation.round_writer import RoundWriter
from chatui.conversation.store import Store
from chatui.conversation.transcript_recorder import RecordingStore, TranscriptRecorder

TEXT = "春眠不觉晓处处闻啼鸟夜来风雨声花落知多少"
CANDIDATES = tuple((id, TEXT[id], 0.1) for id in range(8))


async def stream(add: Callable[..., Any], seconds: float, rate: float) -> None:
    """Yield tokens at their times; late tokens come immediately."""
    began = time.monotonic()
    for number in range(int(seconds * rate)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        add(TEXT[number % len(TEXT)], number, -0.25, CANDIDATES)


async def measured(store: Store | None, seconds: float, rate: float) -> tuple[float, float]:
    """Return the processor seconds, and the duration of the end of the reply."""
    pieces: list[Any] = []

    def keep(*piece: Any) -> None:
        pieces.append(piece)

    began = time.process_time()
    if store is None:
        await stream(keep, seconds, rate)
        return time.process_time() - began, 0.0
    begun = await store.queued(store.add_round, None, None, "写一首长诗")
    writer = RoundWriter(store, begun.id, lambda problem: print(problem))
    await stream(writer.add, seconds, rate)
    reply = "".join(piece.text for piece in writer.pieces)
    ending = time.monotonic()
    await writer.finish(replace(begun, state="done", reply=reply, seconds=writer.seconds))
    took = time.monotonic() - ending
    return time.process_time() - began, took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=float, default=200, help="tokens per second")
    options = parser.parse_args()
    times = (options.seconds, options.rate)
    bare, _ = asyncio.run(measured(None, *times))
    print(f"streaming alone: {bare / options.seconds:.2%} of the time")
    with tempfile.TemporaryDirectory() as folder:
        recorder = TranscriptRecorder(Path(folder) / "r.jsonl")
        for name, store in (
            ("saving", Store(Path(folder) / "a.db")),
            ("saving and recording", RecordingStore(Path(folder) / "b.db", recorder)),
        ):
            spent, end = asyncio.run(measured(store, *times))
            share = (spent - bare) / options.seconds
            print(f"{name}: {share:.2%} of the time; the reply's end took {1000 * end:.0f} ms")
            store.close()


if __name__ == "__main__":
    main()
