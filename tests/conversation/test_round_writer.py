"""The round writer saves in time, never blocks, and loses nothing."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from chatui.conversation.database import BUSY_SECONDS
from chatui.conversation.round_writer import RoundWriter
from chatui.conversation.rounds import Piece, Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError


@pytest.fixture
def store(tmp_path: Path):
    opened = Store(tmp_path / "conversations.db")
    yield opened
    opened.close()


def begin(store: Store) -> Round:
    return store.add_round(None, None, "问")


def writer_of(store: Store, begun: Round, problems: list[str], seconds: float) -> RoundWriter:
    return RoundWriter(
        store,
        begun.id,
        lambda problem: problems.append(str(problem)),
        interval_seconds=seconds,
    )


def limit_pages(store: Store, pages: int) -> None:
    """Make SQLite report a full disk after this number of pages."""
    store._database._writing_connection.execute(f"PRAGMA max_page_count = {pages}")


async def until(condition: Callable[[], object]) -> None:
    async def poll() -> None:
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    await asyncio.wait_for(poll(), 60)


async def until_saved(store: Store, round_id: int, reply: str) -> None:
    await until(lambda: store.round(round_id).reply == reply)


def text_of(writer: RoundWriter) -> str:
    return "".join(piece.text for piece in writer.pieces)


async def test_pieces_are_saved_in_batches_and_in_time(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a simulated clock: 60 tokens in 3 seconds."""
    begun, problems, now = begin(store), [], 0.0
    planned: list[tuple[float, Callable[[], None]]] = []
    loop = asyncio.get_running_loop()

    def call_later(delay: float, call: Callable[[], None]) -> asyncio.Handle:
        planned.append((now + delay, call))
        return loop.call_soon(lambda: None)

    monkeypatch.setattr(loop, "call_later", call_later)
    tell = problems.append
    writer = RoundWriter(store, begun.id, tell, clock=lambda: now, interval_seconds=0.5)
    for index in range(60):
        now = index / 20
        while planned and planned[0][0] <= now:
            planned.pop(0)[1]()
            assert writer._saving is not None
            await writer._saving
        writer.add(str(index % 10), index, -0.5)
        # No piece waits longer than half a second.
        assert len(store.pieces(begun.id)) >= index + 1 - 0.5 * 20
    await writer.finish(replace(begun, state="done", reply=text_of(writer)))
    pieces = store.pieces(begun.id)
    assert "".join(piece.text for piece in pieces) == store.round(begun.id).reply
    assert [piece.token_id for piece in pieces] == list(range(60))
    assert (pieces[3].text, pieces[3].logprob, pieces[3].at_seconds) == ("3", -0.5, 0.15)
    with sqlite3.connect(tmp_path / "conversations.db") as db:
        assert db.execute("SELECT count(*) FROM pieces").fetchone() == (6,)
    assert problems == []


async def test_the_last_piece_is_saved(store: Store) -> None:
    begun = begin(store)
    writer = writer_of(store, begun, [], 0.05)
    writer.add("床")
    writer.add("前")
    assert store.pieces(begun.id) == ()
    await until_saved(store, begun.id, "床前")
    writer.add("明月")
    await until_saved(store, begun.id, "床前明月")


async def test_a_full_disk_loses_nothing(store: Store) -> None:
    begun, problems = begin(store), []
    writer = writer_of(store, begun, problems, 0.01)
    limit_pages(store, 1)
    text = ["春眠不觉晓" * 2000, "处处闻啼鸟" * 2000]
    for part in text:
        writer.add(part)
        await until(lambda: problems)
    assert "disk is full" in problems[0]
    ended = replace(begun, state="stopped", reply="".join(text))
    with pytest.raises(ChatuiError, match="disk is full"):
        await writer.finish(ended)
    assert store.round(begun.id).state == "streaming"
    limit_pages(store, 1_000_000)
    await writer.finish(ended)
    assert store.round(begun.id) == ended
    assert [piece.text for piece in store.pieces(begun.id)] == text


async def test_saving_resumes_when_space_is_freed(store: Store) -> None:
    begun, problems = begin(store), []
    writer = writer_of(store, begun, problems, 0.01)
    limit_pages(store, 1)
    writer.add("长" * 10_000)
    await until(lambda: problems)
    limit_pages(store, 1_000_000)
    await until_saved(store, begun.id, "长" * 10_000)
    await writer.finish(replace(begun, state="done", reply="长" * 10_000))


async def test_a_conversation_deleted_in_mid_reply_is_a_plain_error(store: Store) -> None:
    begun, problems = begin(store), []
    writer = writer_of(store, begun, problems, 0.01)
    writer.add("一")
    store.delete(begun.conversation_id)
    other = Store(store.file, clock=lambda: time.time() + 2 * 24 * 3600)
    other.recover_rounds()
    other.close()
    await until(lambda: problems)
    assert "deleted" in problems[0]
    with pytest.raises(ChatuiError, match="deleted"):
        await writer.finish(replace(begun, state="done"))
    assert [piece.text for piece in writer.pieces] == ["一"]


async def test_ending_a_long_reply_does_not_block_the_loop(store: Store) -> None:
    begun = begin(store)
    writer = writer_of(store, begun, [], 0.5)
    text = "床前明月光，疑是地上霜。\n" * 4000
    for at in range(0, len(text), 4):
        writer.add(text[at : at + 4])
    steps = []
    finishing = asyncio.ensure_future(
        writer.finish(replace(begun, state="done", reply=text_of(writer)))
    )
    used = time.thread_time()
    while not finishing.done():
        await asyncio.sleep(0)
        steps.append(time.thread_time() - used)
        used = time.thread_time()
    assert store.round(begun.id).reply == text
    # The garbage collector may run during one.
    assert max(sorted(steps)[:-1], default=0.0) < 0.005


async def test_a_lock_of_another_process_does_not_block_the_loop(
    store: Store, tmp_path: Path
) -> None:
    begun = begin(store)
    writer = writer_of(store, begun, [], 0.01)
    other = sqlite3.connect(tmp_path / "conversations.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    writer.add("床")
    longest, before = 0.0, time.monotonic()
    for _ in range(100):
        writer.add("前")
        await asyncio.sleep(0.005)
        longest, before = max(longest, time.monotonic() - before), time.monotonic()
    assert [each.id for each in store.rounds(begun.conversation_id)] == [begun.id]
    other.execute("COMMIT")
    other.close()
    # Waiting for the lock would have taken this long.
    assert longest < BUSY_SECONDS / 2
    await writer.finish(replace(begun, state="done", reply=text_of(writer)))
    assert len(store.pieces(begun.id)) == 101


def test_closing_with_a_full_disk_lets_the_next_start_end_the_round(tmp_path: Path) -> None:
    file = tmp_path / "full.db"
    store = Store(file)
    begun = begin(store)
    for _ in range(20):
        store.append_pieces(begun.id, [Piece(0, "长" * 1000)])
    limit_pages(store, 1)
    store.close()
    store = Store(file)
    assert store.round(begun.id).state == "streaming"
    assert [r.reply for r in store.recover_rounds()] == ["长" * 20_000]
    store.close()
