"""Timing of a replay at 16 times its speed, in the headless app.

    python benchmarks/replay_time.py [--speed 16]

Plays a transcript of 60 seconds at 40 tokens per second, as Markdown, to its end. Prints the time
to the end against the expected time, the processor time, and the delay of the screen.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from chatui.conversation.playback import Player
from chatui.conversation.rounds import Conversation, Piece, Round, Transcript
from chatui.tui.screens.replay_screen import ReplayApp

TEXT = "春眠不觉晓，**处处**闻啼鸟。\n夜来风雨声，`花落`知多少。\n\n- 一\n- 二\n\n"


def recording(rounds: int, seconds: float, rate: float) -> Transcript:
    """Return a transcript of consecutive rounds of ``seconds`` seconds each."""
    replies, pieces = [], {}
    for number in range(1, rounds + 1):
        texts = [TEXT[at % len(TEXT)] for at in range(int(seconds * rate))]
        pieces[number] = tuple(Piece(at / rate, text) for at, text in enumerate(texts))
        started = (number - 1) * seconds
        parent = number - 1 or None
        reply = "".join(texts)
        one = Round(number, 0, parent, "写", reply, "done", started_at=started, seconds=seconds)
        replies.append(one)
    about = Conversation(0, "诗", 0, 0, rounds, rounds)
    return Transcript(about, tuple(replies), pieces)


async def played(speed: float) -> tuple[float, float, float, list[float]]:
    """Return actual, processor and expected seconds, and the delay of each drawn step."""
    player = Player(recording(6, 10.0, 40.0), speed)
    app = ReplayApp(player, "诗")
    late: list[float] = []
    async with app.run_test(size=(100, 30)):
        player.seek(0.0)
        began, worked = time.monotonic(), time.process_time()
        shown = player.steps_done
        while app.replay.shown < player.step_count:
            frame = app.replay.frames
            while app.replay.frames == frame:  # noqa: ASYNC110  # the app has no event to tell it
                await asyncio.sleep(0.002)
            now = (time.monotonic() - began) * speed
            late += [
                (now - step.at_seconds) / speed for step in player.steps(shown, app.replay.shown)
            ]
            shown = app.replay.shown
        took, worked = time.monotonic() - began, time.process_time() - worked
    return took, worked, player.total_seconds / speed, late


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--speed", type=float, default=16)
    options = parser.parse_args()
    took, worked, expected, late = asyncio.run(played(options.speed))
    print(f"{options.speed:g}×: {took:.2f} s, should be {expected:.2f}: {took / expected - 1:+.1%}")
    print(f"processor time: {worked:.2f} s")
    late.sort()
    middle, worst = late[len(late) // 2], late[int(len(late) * 0.99)]
    print(f"a step is on the screen after {1000 * middle:.0f} ms, p99 {1000 * worst:.0f} ms")


if __name__ == "__main__":
    main()
