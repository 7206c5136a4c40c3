"""The round writer: when it saves, and that nothing is lost where it cannot."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest

from chatui.conversation.rounds import Piece
from chatui.conversation.store import Store
from chatui.conversation.writer import RoundWriter
from chatui.errors import ChatuiError


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store(tmp_path: Path):
    opened = Store(tmp_path / "conversations.db")
    yield opened
    opened.close()


def begin(store: Store) -> int:
    return store.add_round(store.create_conversation().id, None, "问").id


def limit_pages(store: Store, pages: int) -> None:
    """A disk that is full after so many pages: SQLite itself says so."""
    store._database._connection.execute(f"PRAGMA max_page_count = {pages}")


def test_pieces_are_saved_every_half_second_in_batches(store: Store, tmp_path: Path) -> None:
    clock = Clock()
    round_id = begin(store)
    writer = RoundWriter(store, round_id, clock=clock)
    for index in range(100):
        clock.now = 100 + (index + 1) * 0.03125
        writer.add(str(index % 10), index, -0.5)
        unsaved = writer.unsaved
        assert not unsaved or clock.now - (100 + unsaved[0].at_seconds) < 0.5
    ended = writer.finish("done", finish_reason="eos", prompt_tokens=4)
    assert ended.reply == writer.text == "0123456789" * 10
    assert (ended.output_tokens, ended.seconds, ended.state) == (100, 3.125, "done")
    pieces = store.pieces(round_id)
    assert pieces[3] == Piece(0.125, "3", 3, -0.5)
    assert "".join(piece.text for piece in pieces) == ended.reply
    with sqlite3.connect(tmp_path / "conversations.db") as db:
        assert 6 <= db.execute("SELECT count(*) FROM pieces").fetchone()[0] <= 8


async def test_a_piece_that_none_follows_is_saved_by_the_loop(store: Store) -> None:
    round_id = begin(store)
    writer = RoundWriter(store, round_id, interval_seconds=0.05)
    writer.add("床")
    writer.add("前")
    assert store.pieces(round_id) == ()
    await asyncio.sleep(0.2)
    assert store.round(round_id).reply == "床前"
    writer.add("明")
    writer.add("月")
    await asyncio.sleep(0.2)
    assert store.round(round_id).reply == "床前明月"


def test_a_full_disk_loses_nothing(store: Store) -> None:
    clock = Clock()
    round_id = begin(store)
    writer = RoundWriter(store, round_id, clock=clock)
    limit_pages(store, 1)
    text = ["春眠不觉晓" * 2000, "处处闻啼鸟" * 2000]
    clock.now += 1
    writer.add(text[0])
    assert "disk is full" in str(writer.problem)
    with pytest.raises(ChatuiError, match="disk is full"):
        writer.flush()
    clock.now += 1
    writer.add(text[1])
    with pytest.raises(ChatuiError, match="disk is full"):
        writer.finish("stopped")
    assert store.round(round_id).state == "streaming"
    assert len(writer.unsaved) == 2
    limit_pages(store, 1_000_000)
    ended = writer.finish("stopped")
    assert (ended.reply, ended.state) == ("".join(text), "stopped")
    assert [piece.text for piece in store.pieces(round_id)] == text
    assert writer.problem is None and writer.unsaved == ()


def test_room_made_while_the_reply_streams_ends_the_problem(store: Store) -> None:
    clock = Clock()
    round_id = begin(store)
    writer = RoundWriter(store, round_id, clock=clock)
    limit_pages(store, 1)
    clock.now += 1
    writer.add("长" * 10_000)
    assert writer.problem is not None
    limit_pages(store, 1_000_000)
    clock.now += 1
    writer.add("短")
    assert writer.problem is None
    assert store.round(round_id).reply == writer.text


def test_a_conversation_deleted_in_mid_reply_is_a_plain_error(store: Store) -> None:
    round_id = begin(store)
    writer = RoundWriter(store, round_id, interval_seconds=0)
    writer.add("一")
    store.delete(store.round(round_id).conversation_id)
    writer.add("二")
    assert "deleted" in str(writer.problem)
    with pytest.raises(ChatuiError, match="deleted"):
        writer.finish()
    assert writer.text == "一二"


def test_the_work_of_a_flush_does_not_grow_with_the_reply(store: Store) -> None:
    round_id = begin(store)
    writer = RoundWriter(store, round_id, interval_seconds=0)

    def batch() -> float:
        started = time.perf_counter()
        for _ in range(200):
            writer.add("字")
        return time.perf_counter() - started

    batch()
    first = min(batch() for _ in range(3))
    for _ in range(20):
        batch()
    last = min(batch() for _ in range(3))
    assert last < first * 3


def test_closing_with_a_full_disk_leaves_the_round_to_the_next_start(tmp_path: Path) -> None:
    file = tmp_path / "full.db"
    store = Store(file)
    round_id = begin(store)
    for _ in range(20):
        store.append_pieces(round_id, [Piece(0, "长" * 1000)])
    limit_pages(store, 1)
    store.close()
    store = Store(file)
    assert store.round(round_id).state == "streaming"
    assert [r.reply for r in store.recover()] == ["长" * 20_000]
    store.close()
