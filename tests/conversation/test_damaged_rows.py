"""Damage in every column of the store: the rest can be read, and nothing raises."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from chatui.conversation.dialogue_sources import ALL_REPLIES, matching_dialogues, preference_pairs
from chatui.conversation.export_formats import export_parts, format_named
from chatui.conversation.rounds import Piece, RenderedPrompt
from chatui.conversation.store import Store
from chatui.conversation.transcript_reader import read_transcript
from chatui.conversation.transcript_writer import to_lines

TABLES = ("conversations", "rounds", "pieces", "prompts")
DAMAGE: list[Any] = [-5, 1e308, "abc\x00", b"\xff\xfe", "9" * 5000]
DAMAGED_JSON = [
    '{"a": [1', '"\\ud800"',
    '[[1, "\\ud800"], 5, [0, 2, 3, 4], [1, "x", 2, 3, 4], [1, "y", 2, 3, [[1]]]]',
    '{"temperature": "hot", "system": 5, "think": [], "stop_strings": 3, "begun_pieces": "x"}',
]  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with a branched conversation and one whose reply is being written."""
    file = tmp_path_factory.mktemp("sound") / "x.db"
    store = Store(file)
    sampling = {"temperature": 0.5}
    first = store.add_round(None, None, "春眠", "shiyou", "shiyou", sampling, 7)
    store.append_pieces(first.id, [Piece(0.1, "不觉", 5, -0.5, ((5, "不觉", 0.6),))])
    store.save_prompt(first.id, RenderedPrompt("春眠", (1,), ("春",)))
    store.finish_round(replace(first, state="done", reply="不觉晓", note="好", rating=1))
    for query in ("处处", "闻啼鸟"):
        one = store.add_round(first.conversation_id, first.id, query)
        store.finish_round(replace(one, state="done", reply=query))
    left = store.add_round(None, None, "夜来")
    store.append_pieces(left.id, [Piece(0.1, "风雨")])
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE rounds SET writer = 'gone'")
    store._database.close()
    return file.read_bytes()


def look(store: Store) -> None:
    """Read all that the app and the commands read."""
    store.search("不觉")
    store.search("cc")
    store.search_conversations("春", 5)
    store.recent_models()
    store.tags()
    store.deleted()
    store.list_fingerprint()
    listed = store.conversations()
    for each in listed:
        path = store.rounds(each.id)
        assert path or each.head_id is None, "the rounds can be read"
        rounds = store.all_rounds(each.id)
        for one in rounds:
            store.siblings(one.id)
            store.rounds(each.id, store.leaf(one.id))
            store.prompt(one.id)
            store.pieces(one.id)
        whole = store.transcript(each.id)
        again = read_transcript("".join(to_lines(whole)).encode(), name="x")
        assert [one.query for one in again.rounds] == [one.query for one in rounds]
        list(matching_dialogues(whole, ALL_REPLIES))
        list(preference_pairs(whole, ALL_REPLIES))
        for form in map(format_named, ("markdown", "html", "chatglm")):
            "".join(export_parts(store, [each.id], form, probabilities=True))


@pytest.mark.parametrize("table", TABLES)
def test_every_column_may_be_damaged(table: str, sound: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    file.write_bytes(sound)
    store = Store(file)
    key = "round_id" if table in ("pieces", "prompts") else "id"
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        json_columns = [column for column in columns if column in ("sampling", "data")]
        for column, value in (*product(columns, DAMAGE), *product(json_columns, DAMAGED_JSON)):
            (before,) = db.execute(f"SELECT {column} FROM {table} WHERE {key} = 1").fetchone()
            with suppress(sqlite3.IntegrityError):
                db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = 1", (value,))
            try:
                look(store)
            except Exception as error:
                raise AssertionError(f"{table}.{column} = {str(value)[:40]!r}") from error
            place = (before, value if column == key else 1)
            db.execute(f"UPDATE {table} SET {column} = ? WHERE {key} = ?", place)
    store.close()


@pytest.mark.parametrize(
    "where", ["pieces SET data", "rounds SET writer", "rounds SET state", "rounds SET sampling"]
)
def test_rounds_of_dead_processes_end_in_spite_of_damage(
    where: str, sound: bytes, tmp_path: Path
) -> None:
    for number, value in enumerate((*DAMAGE, *DAMAGED_JSON)):
        file = tmp_path / f"{number}.db"
        file.write_bytes(sound)
        with closing(sqlite3.connect(file)) as db, db:
            db.execute(f"UPDATE {where} = ?", (value,))
        store = Store(file)
        store.recover_rounds()
        look(store)
        store.close()


def test_a_damaged_round_names_the_skipped_columns(sound: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    file.write_bytes(sound)
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("UPDATE rounds SET seed = 'x', sampling = '{', query = x'ff41' WHERE id = 1")
    store = Store(file)
    one = store.round(1)
    assert (one.query, one.reply, one.seed, one.sampling) == ("\ufffdA", "不觉晓", None, {})
    assert one.damaged == ("seed", "sampling")
    store.close()
