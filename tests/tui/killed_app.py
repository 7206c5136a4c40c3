"""The app, killed at random moments while it streams and records, and checks of what is left.

Run as a program, this is chatui with one addition: each token is first written, with its time,
to the file named by the environment variable ``TOLD``.
"""

from __future__ import annotations

import json
import os
import random
import sqlite3
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ENDLESS = """
name = "endless"
title = { zh = "不停", en = "Endless" }
family = "gpt2"
format = "gpt2-chinese"
base = { asset = "shiyou" }
eos_ids = [1]
[sampling]
top_k = 10
uniform_top_k = true
max_new_tokens = 490
"""
"""The embedded model with an end token that it never generates."""

TOLD = "CHATUI_TEST_TOLD"
_QUERIES = ("春风又绿江南岸", "夜来风雨声", "花落知多少", "处处闻啼鸟")
_LONGEST_SECONDS = 3.0


@dataclass(frozen=True)
class Outcome:
    """The result of one kill.

    Attributes:
        told: the number of tokens that the app had received, in all replies.
        lost_from_store, lost_from_transcript: seconds from the oldest token that is missing there
            to the newest token received.
        faults: a description of each fault.
    """

    told: int
    lost_from_store: float
    lost_from_transcript: float
    faults: tuple[str, ...]


def kill_once(home: Path, number: int, seed: int) -> Outcome:
    """Start the app on ``home``, send queries, kill it at a random moment, and check the files."""
    from real_terminal import RealTerminal

    dice = random.Random(seed)
    told_file, record = home.parent / f"{number}.told", home.parent / f"{number}.jsonl"
    terminal = RealTerminal(
        (sys.executable, __file__, "--model", "endless", "--record", str(record)),
        **{TOLD: str(told_file), "CHATUI_LANG": "zh"},
    )
    try:
        # One in ten is killed while its model loads.
        terminal.until_shown("不停 ·" if dice.random() < 0.1 else "不停 · 上下文", 300)
        for query in _QUERIES[: dice.randrange(1, 5)]:
            terminal.type(query)
            terminal.press("enter")
            terminal.read(dice.uniform(0, 0.2))
        terminal.read(dice.uniform(0, _LONGEST_SECONDS))
    finally:
        terminal.kill()
    return _look(home, told_file, record)


def _look(home: Path, told_file: Path, record: Path) -> Outcome:
    from chatui.conversation.json_records import UnreadableRecord
    from chatui.conversation.store import Store
    from chatui.conversation.transcript_reader import read_transcript

    told: dict[str, list[tuple[float, str]]] = {}
    for line in told_file.read_text().splitlines() if told_file.exists() else ():
        at, round_id, text = json.loads(line)
        told.setdefault(str(round_id), []).append((at, text))
    faults: list[str] = []
    database = home / "conversations.db"
    with sqlite3.connect(database) as db:
        (state,) = db.execute("PRAGMA integrity_check").fetchone()
        if state != "ok":
            faults.append(f"the store: {state}")
    store = Store(database)
    store.recover_rounds()
    locks = [*(home / "conversations.db-writers").glob("*.lock")]
    faults += [f"a lock stays: {lock.name}" for lock in locks]
    in_store = [
        (pieces, "".join(each.text for each in store.pieces(int(id))))
        for id, pieces in told.items()
    ]
    for id in told:
        if store.round(int(id)).state == "streaming":
            faults.append(f"round {id} is still being written")
    store.close()
    found: list[UnreadableRecord] = []
    said: dict[str, str] = {}
    if record.exists() and record.stat().st_size:
        whole = read_transcript(record, found.append)
        faults += [f"the transcript, line {each.line}: {each.reason}" for each in found]
        # The rounds of a file and the ids of the store have the same order.
        replies = ["".join(piece.text for piece in whole.pieces[one.id]) for one in whole.rounds]
        said = dict(zip(sorted(told, key=int), replies, strict=False))
    in_transcript = [(pieces, said.get(id, "")) for id, pieces in told.items()]
    lost = [
        max((_lost(*each, faults) for each in place), default=0.0)
        for place in (in_store, in_transcript)
    ]
    return Outcome(sum(map(len, told.values())), *lost, tuple(faults))


def _lost(told: Sequence[tuple[float, str]], kept: str, faults: list[str]) -> float:
    """Return the seconds from the first missing token to the last one received."""
    at = 0
    for moment, text in told:
        if at >= len(kept) and text:
            return told[-1][0] - moment
        at += len(text)
    if not "".join(text for _, text in told).startswith(kept):
        faults.append("what is kept is not what came")
    return 0.0


def main() -> int:
    """Run chatui, and write each token to the file first."""
    import forked_engine

    from chatui.backends.local import LocalBackend
    from chatui.cli import main as chatui
    from chatui.conversation.round_writer import RoundWriter

    told = os.open(os.environ[TOLD], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    add = RoundWriter.add

    def tell(self: RoundWriter, text: str, *rest: object, **more: object) -> None:
        os.write(told, json.dumps([time.time(), self._round_id, text]).encode() + b"\n")
        add(self, text, *rest, **more)  # type: ignore[arg-type]

    RoundWriter.add = tell  # type: ignore[method-assign]
    forked_engine.forking(LocalBackend)
    return chatui()


if __name__ == "__main__":
    sys.exit(main())
