"""Upgrades of the database, and files that are not usable databases."""

from __future__ import annotations

import errno
import shutil
import signal
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from chatui.conversation import upgrades
from chatui.conversation.database import plain_errors
from chatui.conversation.store import Store
from chatui.conversation.stored_values import encode_text
from chatui.errors import ChatuiError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "conversations.db"


def make_version_1(file: Path) -> None:
    db = sqlite3.connect(file, isolation_level=None)
    upgrades.upgrade(db, 1)
    assert upgrades.version_of(db) == 1
    db.execute("INSERT INTO conversations VALUES (1, '静夜思', 5, 6, NULL)")
    insert = (
        "INSERT INTO rounds (id, conversation_id, parent_id, depth, state, writer, model, format,"
        " sampling, started_at, query, reply) VALUES (?, 1, ?, ?, ?, 'gone', 'm', 'f', '{}', 5,"
        " ?, ?)"
    )
    db.execute(insert, (1, None, 1, "done", "静夜思", encode_text("床前明月光\x00\ud800")))
    db.execute(insert, (2, 1, 2, "streaming", "再来一首", ""))
    db.execute(
        """INSERT INTO pieces VALUES (2, 1, '[[0.5,"春眠",1,null],[0.6,"不觉晓",2,-1.5]]')"""
    )
    db.execute("UPDATE conversations SET head_id = 2")
    db.close()


def test_version_1_is_upgraded_and_indexed(file: Path) -> None:
    make_version_1(file)
    store = Store(file)
    with sqlite3.connect(file) as db:
        assert upgrades.version_of(db) == upgrades.CURRENT_VERSION
    assert [r.reply for r in store.rounds(1)] == ["床前明月光\x00\ud800", "春眠不觉晓"]
    assert [h.round_id for h in store.search("前明月光")] == [1], "before it is indexed"
    assert [r.state for r in store.recover_rounds()] == ["interrupted"]
    store.rename(1, "静夜思")  # Queued after the indexing.
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT count(*) FROM rounds WHERE indexed = 0").fetchone() == (0,)
    assert [h.round_id for h in store.search("前明月光")] == [1]
    assert [h.round_id for h in store.search("眠不觉晓")] == [2]
    assert [h.round_id for h in store.search("cqmyg")] == [1]
    assert store.conversations()[0].round_count == 2
    kept = file.with_name(file.name + ".version-1")
    with sqlite3.connect(kept) as db:
        assert upgrades.version_of(db) == 1
        assert db.execute("SELECT count(*) FROM rounds").fetchone() == (2,)
    assert kept.stat().st_mode & 0o77 == 0
    store.delete(1)
    store.close()
    store = Store(file, clock=lambda: time.time() + 2 * 24 * 3600)
    store.recover_rounds()
    with sqlite3.connect(file) as db:
        db.execute("INSERT INTO round_index (round_index) VALUES ('integrity-check')")
    store.close()


def test_a_failed_upgrade_changes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_version_1(file)
    before = dump(file)

    def broken(db: sqlite3.Connection, statements: Sequence[str]) -> None:
        db.execute("CREATE TABLE half (x)")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(upgrades, "_run_step", broken)
    with pytest.raises(ChatuiError, match="disk is full"):
        Store(file)
    assert dump(file) == before


def test_a_newer_database_is_refused_and_unchanged(file: Path) -> None:
    Store(file).close()
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 99")
    before = dump(file)
    with pytest.raises(ChatuiError, match=r"newer chatui .*99"):
        Store(file)
    assert dump(file) == before


@pytest.mark.parametrize("content", [b"no database" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_that_is_not_a_database_is_unchanged(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ChatuiError, match="damaged"):
        Store(file)
    assert file.read_bytes() == content


def test_a_database_of_another_program_is_unchanged(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE rounds (x)")
    with pytest.raises(ChatuiError, match="damaged or not a database"):
        Store(file)
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("rounds",)]


def test_a_truncated_database_is_a_plain_error(file: Path) -> None:
    store = Store(file)
    begun = store.add_round(None, None, "长" * 50_000)
    store.finish_round(replace(begun, state="done", reply="短" * 50_000))
    store.close()
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ChatuiError, match="damaged"):
        Store(file).rounds(begun.conversation_id)


def test_a_folder_that_cannot_be_created_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ChatuiError, match="cannot be saved"):
        Store(tmp_path / "file" / "conversations.db")
    with pytest.raises(ChatuiError, match="cannot be saved"):
        Store(tmp_path)


@pytest.mark.parametrize(
    ("error", "free", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 1 << 30, "disk is full"),
        (sqlite3.OperationalError("disk I/O error"), 0, "disk is full"),
        (sqlite3.OperationalError("disk I/O error"), 1 << 30, "cannot be saved"),
    ],
)
def test_a_full_disk_is_reported_as_one(
    error: Exception, free: int, said: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(file.parent)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ChatuiError, match=said), plain_errors(file):
        raise error


def test_a_locked_database_is_a_plain_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatui.conversation.database.BUSY_SECONDS", 0.1)
    store = Store(file)
    with sqlite3.connect(file) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(ChatuiError, match="locked by another program"):
            store.add_round(None, None, "?")
    store.add_round(None, None, "?")
    store.close()


def dump(file: Path) -> list[str]:
    with sqlite3.connect(file) as db:
        return [str(upgrades.version_of(db)), *db.iterdump()]


def test_an_upgrade_reports_progress_and_can_be_interrupted(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatui.conversation.database._STEPS_BETWEEN_CALLS", 20)
    make_version_1(file)
    calls: list[int] = []

    def press_ctrl_c() -> None:
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Store(file, on_progress=press_ctrl_c)
    with sqlite3.connect(file) as db:
        assert upgrades.version_of(db) == 1
    store = Store(file, on_progress=lambda: calls.append(2))
    assert calls.count(2) > 3
    assert store.conversations()[0].round_count == 2
    store.close()
