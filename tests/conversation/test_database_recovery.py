"""Recovery of damaged databases."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from chatui.conversation.database import damage_mark
from chatui.conversation.database_recovery import open_recovered
from chatui.conversation.rounds import Conversation, Piece, Round, Transcript
from chatui.conversation.store import Store
from chatui.errors import ChatuiError

COUNT = 120


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A store of many conversations of two rounds, closed."""
    file = tmp_path / "c.db"
    with closing(Store(file)) as store:
        store.add_conversations(
            Transcript(
                Conversation(0, f"题{number}", number, number, 2, 2),
                (
                    Round(
                        1, 0, None, f"问{number}", f"明月{number}" * 40, "done", started_at=number
                    ),
                    Round(2, 0, 1, "再", f"清风{number}" * 40, "done", started_at=number),
                ),
                {1: (Piece(0.5, f"明月{number}" * 40, 7, -0.5),)},
            )
            for number in range(COUNT)
        )
    return file


def opened(file: Path) -> tuple[Store, str]:
    told: list[str] = []
    store = open_recovered(file, told.append, Store)
    return store, "".join(told)


def kept(file: Path) -> Path:
    (found,) = file.parent.glob("c.db.damaged-*[0-9]")
    return found


def spoil(file: Path, pages: Callable[[int], list[int]]) -> bytes:
    """Overwrite pages with random bytes; return the new content of the file."""
    data = bytearray(file.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    for page in pages(len(data) // size):
        data[page * size : (page + 1) * size] = random.Random(page).randbytes(size)
    file.write_bytes(data)
    return bytes(data)


@pytest.mark.parametrize("seed", range(4))
def test_readable_rows_are_copied_to_a_new_database(file: Path, seed: int) -> None:
    dice = random.Random(seed)
    # The first pages are the root pages of the tables.
    data = spoil(file, lambda count: [dice.randrange(20, count) for _ in range(2)])
    damage_mark(file).touch()
    store, notice = opened(file)
    assert "was damaged" in notice and kept(file).name in notice
    assert kept(file).read_bytes() == data and not damage_mark(file).exists()
    found = store.conversations(limit=-1)
    rounds = 0
    for each in found:
        for one in store.rounds(each.id):
            rounds += 1
            if one.query.startswith("问"):
                assert one.reply == f"明月{one.query[1:]}" * 40
                assert store.pieces(one.id) in ((), (Piece(0.5, one.reply, 7, -0.5),))
    # A leaf page has a few rounds; an interior page leads to more.
    assert rounds > COUNT
    hit = store.search("清风", limit=1)
    assert len(hit) == 1
    # The recovered store can be written.
    begun = store.add_round(found[0].id, found[0].head_id, "新")
    store.finish_round(replace(begun, state="done", reply="好"))
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    store.close()
    again, notice = opened(file)
    assert notice == ""
    again.close()


def test_a_file_that_is_not_a_database_is_kept(file: Path) -> None:
    data = spoil(file, lambda _: [0])
    store, notice = opened(file)
    assert "0 conversations" in notice and store.conversations() == ()
    store.close()
    assert kept(file).read_bytes() == data


def test_damage_found_later_is_recovered_at_the_next_start(file: Path) -> None:
    def all_but_the_schema(count: int) -> list[int]:
        return list(range(count // 2, count))

    spoil(file, all_but_the_schema)
    store = Store(file)
    with pytest.raises(ChatuiError, match="damaged"):
        for each in store.conversations(limit=-1):
            store.transcript(each.id)
    assert damage_mark(file).exists()
    store.close()
    again, notice = opened(file)
    assert "was damaged" in notice
    again.close()


def test_no_recovery_while_another_chatui_writes(file: Path) -> None:
    other = Store(file)
    other.add_round(None, None, "?")
    damage_mark(file).touch()
    with pytest.raises(ChatuiError, match="close all other running chatui"):
        opened(file)
    other.close()
    store, notice = opened(file)
    assert "was damaged" in notice
    assert len(store.conversations(limit=-1)) == COUNT + 1
    store.close()


def test_a_cycle_of_parents_ends(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE rounds SET parent_id = 2 WHERE id = 1")
        db.commit()
    with closing(Store(file)) as store:
        assert {each.id for each in store.rounds(1)} == {1, 2}
        assert store.leaf(1) == 2 and store.leaf(2) == 2
