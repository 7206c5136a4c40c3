"""Several processes on one store: concurrent writes, kills in mid-reply, recovery."""

from __future__ import annotations

import errno
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chatui.conversation.json_records import UnreadableRecord
from chatui.conversation.store import Store
from chatui.conversation.transcript_reader import read_transcript
from chatui.errors import ChatuiError

WRITE_MANY = """
import asyncio, random, sys
from dataclasses import replace
from pathlib import Path
from chatui.conversation.rounds import Piece
from chatui.conversation.store import Store
from chatui.conversation.round_writer import RoundWriter

def raise_(problem):
    raise problem

async def main(name, store):
    dice = random.Random(name)
    store.recover_rounds()
    own = None
    for number in range(12):
        c = dice.choice([own, 1])
        query = f"{name}/{number}"
        begun = store.add_round(c, c and store.conversation(c).head_id, query)
        own = own or (begun.conversation_id if c is None else None)
        interval = dice.choice([0, 0.001, 1])
        writer = RoundWriter(store, begun.id, raise_, interval_seconds=interval)
        for index in range(dice.randrange(1, 30)):
            writer.add(f"{query}.{index} ")
            await asyncio.sleep(0)
            if dice.random() < 0.1:
                store.recover_rounds()
                store.conversations()
        reply = "".join(piece.text for piece in writer.pieces)
        await writer.finish(replace(begun, state="done", reply=reply))
        assert store.round(begun.id).reply == reply
    store.close()

asyncio.run(main(sys.argv[1], Store(Path(sys.argv[2]))))
"""

STREAM = """
import asyncio, sys
from pathlib import Path
from chatui.conversation.store import Store
from chatui.conversation.round_writer import RoundWriter

async def main(store):
    begun = store.add_round(None, None, "写一首长诗", "诗友")
    print(begun.id, flush=True)
    writer = RoundWriter(store, begun.id, print)
    index = 0
    while True:
        writer.add(f"{index} ")
        print(index, flush=True)
        index += 1
        await asyncio.sleep(0.02)

asyncio.run(main(Store(Path(sys.argv[1]))))
"""


def start(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True
    )


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from chatui.conversation.transcript_recorder import RecordingStore, TranscriptRecorder
from chatui.conversation.rounds import Piece
from chatui.errors import ChatuiError

# Writes beyond the limit fail, as on a full disk.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = RecordingStore(Path(sys.argv[1]), TranscriptRecorder(Path(sys.argv[2])))
problems = []
store.on_problem = lambda problem: problems.append(str(problem))
begun = store.add_round(None, None, "x")
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
kept = 0
while len(problems) < 3:
    try:
        store.append_pieces(begun.id, [Piece(0.1, "明月" * 4, 5, -0.1)] * 100)
        kept += 1
    except ChatuiError as problem:
        problems.append(str(problem))
print(kept)
print(*problems, sep="\\n")
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "conversations.db"


def test_concurrent_processes_lose_nothing(file: Path) -> None:
    first = Store(file)
    first.add_round(None, None, "shared")
    writers = [start(WRITE_MANY, str(number), str(file)) for number in range(3)]
    assert [writer.wait(60) for writer in writers] == [0] * 3
    assert first.recover_rounds() == ()
    seen = []
    for conversation in first.conversations():
        for this in first.all_rounds(conversation.id):
            if this.query == "shared":
                assert this.state == "streaming"
                continue
            seen.append(this.query)
            assert this.state == "done"
            pieces = [piece.text for piece in first.pieces(this.id)]
            assert pieces == [f"{this.query}.{index} " for index in range(len(pieces))]
            assert this.reply == "".join(pieces) and pieces
            assert this in first.rounds(conversation.id, this.id)
    assert sorted(seen) == sorted(f"{name}/{number}" for name in range(3) for number in range(12))
    first.close()


def test_several_processes_can_create_the_database_at_once(file: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from chatui.conversation.store import Store;"
        "s = Store(Path(sys.argv[1])); s.add_round(None, None, 'x')"
    )
    processes = [start(script, str(file)) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    store = Store(file)
    assert len(store.conversations()) == 4
    store.close()


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
def test_kill_9_in_mid_reply_loses_at_most_the_last_second(file: Path) -> None:
    # Repeated, because the machine may pause.
    lost = (lost_by_a_kill(file.with_name(f"{attempt}.db")) for attempt in range(3))
    assert any(seconds <= 1 for seconds in lost)


def lost_by_a_kill(file: Path) -> float:
    """Kill a process that writes a reply; return the seconds missing from the store."""
    process = start(STREAM, str(file))
    assert process.stdout is not None
    round_id = int(process.stdout.readline())
    lines = [process.stdout.readline() for _ in range(60)]
    store = Store(file)
    # The writer is running, so its round is not changed.
    assert store.recover_rounds() == ()
    assert store.round(round_id).state == "streaming"
    while not store.round(round_id).reply.startswith("0 1 2 "):
        lines.append(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    process.wait()
    spoken = "".join(f"{int(line)} " for line in lines)

    (recovered,) = store.recover_rounds()
    assert recovered == store.round(round_id)
    assert (recovered.id, recovered.state, recovered.model) == (round_id, "interrupted", "诗友")
    assert spoken.startswith(recovered.reply)
    assert recovered.output_tokens == len(recovered.reply.split()) == len(store.pieces(round_id))
    assert recovered.seconds == store.pieces(round_id)[-1].at_seconds
    assert [c.head_id for c in store.conversations()] == [round_id]
    assert [hit.round_id for hit in store.search("10 11 12")] == [round_id]
    assert store.recover_rounds() == ()
    assert list(file.with_name(f"{file.name}-writers").iterdir()) == []
    store.close()
    return 0.02 * len(spoken[len(recovered.reply) :].split())


def test_closing_interrupts_streaming_rounds(file: Path) -> None:
    store, other = Store(file), Store(file)
    begun = store.add_round(None, None, "?")
    theirs = other.add_round(None, None, "?")
    store.close()
    assert other.recover_rounds() == ()
    assert other.round(begun.id).state == "interrupted"
    assert other.round(theirs.id).state == "streaming"
    other.close()


@pytest.mark.skipif(sys.platform == "win32", reason="flock is Unix's")
def test_a_drive_without_locks_is_a_plain_error(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    store = Store(file)
    with pytest.raises(ChatuiError, match="No locks available"):
        store.announce()
    assert [*(file.parent / "conversations.db-writers").iterdir()] == []


@pytest.mark.skipif(sys.platform == "win32", reason="RLIMIT_FSIZE is Unix's")
def test_a_full_disk_keeps_what_was_saved(file: Path, tmp_path: Path) -> None:
    record = tmp_path / "r.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(file), str(record)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    kept, problems = int(done.stdout.split()[0]), done.stdout.splitlines()[1:]
    assert kept > 3 and problems
    assert all("cannot be" in each or "disk is full" in each for each in problems), problems
    with sqlite3.connect(file) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    store = Store(file)
    (recovered,) = store.recover_rounds()
    assert recovered.output_tokens == 100 * kept
    faults: list[UnreadableRecord] = []
    whole = read_transcript(record, faults.append)
    assert not faults and len(whole.pieces[1]) >= 100
    store.close()


def test_lock_files_of_ended_processes_are_removed(file: Path) -> None:
    store, other = Store(file), Store(file)
    other.add_round(None, None, "?")
    folder = file.parent / "conversations.db-writers"
    (alive,) = folder.iterdir()
    dead, beginning, never_begun = (folder / name for name in ("dead.lock", "a.new", "b.new"))
    for each in (dead, beginning, never_begun):
        each.touch()
    yesterday = time.time() - 2 * 24 * 3600
    for each in (alive, never_begun):
        os.utime(each, (yesterday, yesterday))
    store.recover_rounds()
    assert sorted(folder.iterdir()) == sorted([alive, beginning])
    store.close()
    other.close()
