"""The store: rounds, branches and the list of conversations."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from chatui.conversation.rounds import Piece, RenderedPrompt, Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError

NASTY = [
    "\ud800",
    "a\udfff\ud83d\ude00b",
    "\x00",
    "before\x00after\x10",
    "\x100000 \x10",
    "\x1b[31m\x1b]0;title\x07[bold]",
    "𠮷野家👩‍👩‍👧",
    "\r\n\u2028\u0085",
    "",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "data" / "conversations.db"


@pytest.fixture
def store(file: Path):
    opened = Store(file)
    yield opened
    opened.close()


def say_round(
    store: Store, conversation_id: int | None, parent_id: int | None, query: str
) -> Round:
    """A finished round whose reply repeats the query."""
    begun = store.add_round(conversation_id, parent_id, query)
    return store.finish_round(
        replace(begun, state="done", reply=f"re: {query}", finish_reason="eos")
    )


def test_a_round_is_read_as_written(store: Store) -> None:
    begun = store.add_round(
        None, None, "静夜思", "诗友", "shiyou", {"top_k": 5, "greedy": False}, seed=7
    )
    assert begun.state == "streaming"
    pieces = [Piece(0.1, "床前", 5, -0.25), Piece(0.2, "明月光", 6)]
    store.append_pieces(begun.id, pieces[:1])
    assert store.round(begun.id).reply == "床前"
    ended = store.finish_round(
        replace(
            begun,
            state="done",
            reply="床前明月光",
            finish_reason="eos",
            prompt_tokens=9,
            reused_tokens=3,
            output_tokens=2,
            seconds=0.5,
        ),
        pieces[1:],
    )
    assert store.rounds(begun.conversation_id) == (ended,)
    assert ended == Round(
        id=begun.id,
        conversation_id=begun.conversation_id,
        parent_id=None,
        query="静夜思",
        reply="床前明月光",
        state="done",
        model="诗友",
        format="shiyou",
        finish_reason="eos",
        seed=7,
        sampling={"top_k": 5, "greedy": False},
        prompt_tokens=9,
        reused_tokens=3,
        output_tokens=2,
        started_at=begun.started_at,
        seconds=0.5,
    )
    assert store.pieces(begun.id) == tuple(pieces)


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_any_text_is_stored_exactly(file: Path, text: str) -> None:
    store = Store(file)
    begun = store.add_round(None, None, text, model=text, format=text)
    store.append_pieces(begun.id, [Piece(0, text), Piece(0, text)])
    assert store.round(begun.id).reply == text + text
    store.finish_round(replace(begun, state="failed", reply=text, error=text))
    store.close()
    store = Store(file)
    (back,) = store.rounds(begun.conversation_id)
    assert (back.query, back.reply, back.error, back.model, back.format) == (text,) * 5
    assert [piece.text for piece in store.pieces(back.id)] == [text, text]
    store.close()


def test_a_64_bit_seed_is_stored(store: Store) -> None:
    begun = store.add_round(None, None, "?", seed=2**64 - 1)
    assert begun.seed == 2**64 - 1
    assert store.finish_round(replace(begun, state="done", seed=-(2**63))).seed == -(2**63)


def test_versions_of_a_round_are_branches(store: Store) -> None:
    first = say_round(store, None, None, "一")
    c = first.conversation_id
    second = say_round(store, c, first.id, "二")
    third = say_round(store, c, second.id, "三")
    again = say_round(store, c, first.id, "二")
    assert [r.id for r in store.rounds(c)] == [first.id, again.id]
    assert [r.id for r in store.siblings(again.id)] == [second.id, again.id]
    assert store.siblings(second.id) == store.siblings(again.id)
    assert store.conversation(c).round_count == 2
    assert store.leaf(second.id) == third.id
    assert store.set_head(c, store.leaf(second.id)).round_count == 3
    assert [r.id for r in store.rounds(c)] == [first.id, second.id, third.id]
    assert [r.id for r in store.rounds(c, again.id)] == [first.id, again.id]
    edited = say_round(store, c, None, "一!")
    assert store.siblings(first.id) == (first, edited)
    assert [r.id for r in store.all_rounds(c)] == [
        first.id,
        second.id,
        third.id,
        again.id,
        edited.id,
    ]


def test_ending_a_round_does_not_change_the_head(store: Store) -> None:
    first = say_round(store, None, None, "一")
    c = first.conversation_id
    again = store.add_round(c, None, "一")
    assert store.conversation(c).head_id == again.id
    store.set_head(c, first.id)
    store.finish_round(replace(again, state="stopped", reply="…"))
    assert store.conversation(c).head_id == first.id


def test_first_rounds_of_two_conversations_are_not_versions(store: Store) -> None:
    round_one = say_round(store, None, None, "一")
    round_two = say_round(store, None, None, "二")
    one = round_one.conversation_id
    assert store.siblings(round_one.id) == (round_one,)
    with pytest.raises(ChatuiError, match="another conversation"):
        store.add_round(one, round_two.id, "?")
    with pytest.raises(ChatuiError, match="another conversation"):
        store.set_head(one, round_two.id)


def test_the_list_is_newest_first(file: Path) -> None:
    now = [-25.0]  # Times before 1970 are allowed.
    store = Store(file, clock=lambda: now[0])
    assert store.last_conversation() is None
    ids = []
    for query in ("甲", "乙", "丙"):
        now[0] += 10
        ids.append(say_round(store, None, None, query).conversation_id)
    assert [c.id for c in store.conversations()] == ids[::-1]
    now[0] += 10
    say_round(store, ids[0], store.conversation(ids[0]).head_id, "丁")
    last = store.last_conversation()
    assert last is not None and last.id == ids[0] and last.round_count == 2
    assert store.rounds(ids[0])[0].started_at == store.conversation(ids[0]).created_at == -15
    assert [c.id for c in store.conversations(limit=2)] == [ids[0], ids[2]]
    store.close()


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("  写一首\n\n诗 ", "写一首 诗"),
        ("\x1b[31mred", "[31mred"),
        ("字" * 15, "字" * 15),
        ("字" * 16, "字" * 14 + "…"),
        ("a" * 31, "a" * 29 + "…"),
        ("a" + "字" * 15, "a" + "字" * 14 + "…"),
        ("\x00\ud800", "Untitled"),
    ],
)
def test_the_first_query_is_the_title(store: Store, query: str, title: str) -> None:
    c = say_round(store, None, None, query).conversation_id
    say_round(store, c, None, "another")
    assert store.conversation(c).title == title
    assert store.rename(c, " 我的\n诗 ").title == "我的 诗"
    assert store.rename(c, " \n").title == title


def test_deletion_removes_all_rows_of_a_long_conversation(file: Path) -> None:
    store = Store(file)
    kept = say_round(store, None, None, "明月几时有").conversation_id
    first = say_round(store, None, None, "明月")
    c, parent = first.conversation_id, first.id
    # Deeper than the maximum recursion of SQLite's triggers.
    with sqlite3.connect(file) as db:
        c_row = db.execute("SELECT max(id) FROM rounds").fetchone()[0]
        for index in range(1500):
            db.execute(
                "INSERT INTO rounds (id, conversation_id, parent_id, depth, state, writer, model,"
                " format, sampling, started_at, query) VALUES (?,?,?,?,'done','','','','{}',0,'q')",
                (c_row + 1 + index, c, parent, index + 2),
            )
            parent = c_row + 1 + index
    last = say_round(store, c, parent, "明月几时有")
    assert store.conversation(c).round_count == 1502
    store.append_pieces(last.id, [Piece(0, "x")])
    store.save_prompt(last.id, RenderedPrompt("x"))
    store.delete(c)
    store.close()
    store = Store(file, clock=lambda: time.time() + 2 * 24 * 3600)
    store.recover_rounds()
    with pytest.raises(ChatuiError, match="no conversation"):
        store.conversation(c)
    assert {hit.conversation_id for hit in store.search("明月几时")} == {kept}
    with sqlite3.connect(file) as db:
        assert db.execute("SELECT count(*) FROM rounds").fetchone() == (1,)
        for table in ("pieces", "prompts"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        db.execute("INSERT INTO round_index (round_index) VALUES ('integrity-check')")
    store.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.conversation(99),
        lambda s: s.rounds(99),
        lambda s: s.rounds(1, 99),
        lambda s: s.transcript(99),
        lambda s: s.round(99),
        lambda s: s.siblings(99),
        lambda s: s.leaf(99),
        lambda s: s.rename(99, "x"),
        lambda s: s.set_head(1, 99),
        lambda s: s.add_round(99, None, "x"),
        lambda s: s.add_round(1, 99, "x"),
        lambda s: s.append_pieces(99, [Piece(0, "x")]),
        lambda s: s.save_prompt(99, RenderedPrompt("x")),
        lambda s: s.rate(99, 1),
        lambda s: s.finish_round(Round(99, 1, None, "x", "x", "done")),
    ],
)
def test_missing_rounds_and_conversations_are_plain_errors(store: Store, call) -> None:
    assert store.add_round(None, None, "?").conversation_id == 1
    with pytest.raises(ChatuiError, match="There is no"):
        call(store)


def test_threads_can_share_a_store(store: Store) -> None:
    c = store.add_round(None, None, "first").conversation_id
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            begun = store.add_round(c, None, str(number))
            for index in range(30):
                store.append_pieces(begun.id, [Piece(index, f"{number}.{index} ")])
                store.rounds(c)
            store.finish_round(replace(begun, state="done", reply=str(number)))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for this in store.all_rounds(c)[1:]:
        texts = [piece.text for piece in store.pieces(this.id)]
        assert texts == [f"{this.query}.{index} " for index in range(30)]


def test_a_store_in_memory_has_all_functions() -> None:
    store = Store(None)
    c = say_round(store, None, None, "床前明月光").conversation_id
    assert store.recover_rounds() == ()
    assert [hit.where for hit in store.search("明月光")] == ["query"]
    assert [r.reply for r in store.rounds(c)] == ["re: 床前明月光"]
    store.close()


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_only_the_owner_can_read_the_files(file: Path, store: Store) -> None:
    store.add_round(None, None, "?")
    for path in [file.parent, *file.parent.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("seed", range(2))
def test_random_operations_agree_with_a_simple_model(file: Path, seed: int) -> None:
    dice = random.Random(seed)
    store = Store(file)
    rounds: dict[int, tuple[int, int | None, str, str]] = {}
    heads: dict[int, int] = {}
    for _ in range(150):
        action = dice.choice(["new", "go on", "go on", "go on", "head", "delete", "reopen"])
        if action == "reopen":
            store.close()
            store = Store(file)
        elif action == "new" or not heads:
            text = dice.choice(NASTY) + "诗歌"
            begun = say_round(store, None, None, text)
            c = begun.conversation_id
            heads[c] = begun.id
            rounds[heads[c]] = (c, None, text, f"re: {text}")
        elif action == "delete" and len(heads) > 3:
            c = dice.choice(list(heads))
            store.delete(c)
            del heads[c]
            rounds = {id_: row for id_, row in rounds.items() if row[0] != c}
        else:
            c = dice.choice(list(heads))
            mine = [id_ for id_, row in rounds.items() if row[0] == c]
            chosen = dice.choice([*mine, heads[c]])
            if action == "head":
                store.set_head(c, chosen)
                heads[c] = chosen
            else:
                text = dice.choice(NASTY) + str(dice.random())
                heads[c] = say_round(store, c, chosen, text).id
                rounds[heads[c]] = (c, chosen, text, f"re: {text}")
    assert {c.id: c.head_id for c in store.conversations()} == heads
    for c, head in heads.items():
        expected: list[int] = []
        step: int | None = head
        while step is not None:
            expected.insert(0, step)
            step = rounds[step][1]
        found = store.rounds(c)
        assert [r.id for r in found] == expected
        assert store.conversation(c).round_count == len(expected)
        for r in found:
            assert (c, r.parent_id, r.query, r.reply) == rounds[r.id]
            same = [i for i, row in rounds.items() if row[:2] == (c, r.parent_id)]
            assert [s.id for s in store.siblings(r.id)] == same
    hits = {hit.conversation_id for hit in store.search("诗歌", -1)}
    assert hits == {row[0] for row in rounds.values() if "诗歌" in row[2]}
    store.close()
