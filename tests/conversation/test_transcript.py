"""Transcripts are written and exported without loss, and match the schema."""

from __future__ import annotations

import json
import random
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from example_transcripts import DOCS, check, example, lines

from chatui.conversation.exports import write_atomically
from chatui.conversation.rounds import Conversation, Piece, RenderedPrompt, Round, Transcript
from chatui.conversation.store import Store
from chatui.conversation.transcript_reader import read_transcript
from chatui.conversation.transcript_writer import to_lines


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "对话.jsonl"


def test_a_transcript_is_read_as_written_and_matches_the_schema(file: Path) -> None:
    write_atomically(file, "".join(to_lines(example())))
    assert read_transcript(file) == example()
    assert [this.id for this in example().path()] == [1, 3]
    check(file.read_bytes())


def test_the_schema_refuses_wrong_events() -> None:
    data = "".join(to_lines(example())).encode()
    wrong: tuple[tuple[str, str, Any], ...] = (
        ("query", "text", 5),
        ("token", "id", "x"),
        ("stop", "state", "streaming"),
        ("prompt", "hash", "md5:1"),
        ("branch", "round", None),
        ("edit", "of", None),
        ("rating", "rating", 2),
        ("note", "text", 5),
        ("model", "adapters", [{"path": "x"}]),
    )
    for kind, key, value in wrong:
        changed = lines(data)
        next(each for each in changed if each.get("type") == kind)[key] = value
        with pytest.raises(jsonschema.ValidationError):
            check("\n".join(map(json.dumps, changed)).encode())


def test_the_example_of_the_documentation_is_read_and_valid() -> None:
    text = (DOCS / "transcript.md").read_text(encoding="utf-8")
    example = re.search(r"```\n(\{.*?)```", text, re.DOTALL)
    assert example is not None
    data = example[1].replace("sha256:…", "sha256:" + "0" * 64).encode()
    check(data)
    (one,) = read_transcript(data, name="x").rounds
    assert (one.reply, one.seed, one.state) == ("床前明月光", 7, "done")


def test_a_file_has_no_control_characters(file: Path) -> None:
    write_atomically(file, "".join(to_lines(example())))
    text = file.read_text(encoding="utf-8")
    assert "静夜思" in text
    assert not any((ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 for c in text)
    assert len(text.splitlines()) == 1 + 5 + 1 + 5 + 5 + 3 + 1 + 2


def random_text(dice: random.Random) -> str:
    letters = '春a \n\r\t\x00\x10\x1b\ud800😀"\\'
    return "".join(dice.choice(letters) for _ in range(dice.randrange(12)))


def fill(store: Store, dice: random.Random) -> int:
    """Write a random conversation into the store; return its id."""
    ids: list[int] = []
    conversation: int | None = None
    for _ in range(dice.randrange(1, 7)):
        parent = dice.choice([*ids, None]) if ids else None
        begun = store.add_round(
            conversation,
            parent,
            random_text(dice),
            random_text(dice),
            "format",
            dice.choice([{}, {"top_k": 5, "think": True, "temperature": 0.1}]),
            dice.choice([None, 0, 2**64 - 1]),
            dice.choice([None, *ids]),
        )
        conversation = begun.conversation_id
        ids.append(begun.id)
        at, pieces = 0.0, []
        for _ in range(dice.randrange(5)):
            at += dice.random() * 10
            pieces.append(
                Piece(
                    at,
                    random_text(dice),
                    dice.randrange(-1, 9),
                    dice.choice([None, -dice.random() * 9]),
                    dice.choice([(), ((1, random_text(dice), 0.5), (2, "b", 0.25))]),
                )
            )
        if dice.random() < 0.5:
            store.save_prompt(begun.id, RenderedPrompt(random_text(dice), (1, 2), dropped_rounds=1))
        spelled = "".join(piece.text for piece in pieces)
        ended = replace(
            begun,
            state=dice.choice(["done", "stopped", "failed", "interrupted"]),
            reply=dice.choice([spelled, spelled.strip(), random_text(dice)]),
            finish_reason=dice.choice([None, "eos", "length"]),
            seed=dice.choice([None, 7]),
            prompt_tokens=dice.choice([0, 12]),
            reused_tokens=dice.choice([0, 3]),
            output_tokens=len(pieces),
            seconds=at + dice.random(),
            error=dice.choice([None, random_text(dice)]),
        )
        store.finish_round(ended, pieces)
        if dice.random() < 0.5:
            store.rate(
                begun.id, dice.choice([None, -1, 0, 1]), dice.choice([None, random_text(dice)])
            )
    assert conversation is not None
    store.set_head(conversation, dice.choice(ids))
    store.rename(conversation, random_text(dice))
    return conversation


def test_exporting_and_importing_random_conversations_is_lossless(tmp_path: Path) -> None:
    """Includes branches, versions, control characters and all states."""
    times = random.Random(1)
    now = 1.7e9

    def clock() -> float:
        nonlocal now
        now += times.choice([0.0, times.random() * 100, -times.random()])
        return now

    store = Store(tmp_path / "c.db", clock=clock)
    for seed in range(25):
        id_ = fill(store, random.Random(seed))
        written = "".join(to_lines(store.transcript(id_)))
        check(written.encode())
        read = read_transcript(written.encode(), name="x")
        assert "".join(to_lines(read)) == written, seed
        (copy,) = store.add_conversations([read])
        whole = store.transcript(id_)
        about, rounds, pieces = whole.conversation, whole.rounds, whole.pieces
        whole2 = store.transcript(copy)
        about2, rounds2, pieces2 = whole2.conversation, whole2.rounds, whole2.pieces
        shift = rounds2[0].id - rounds[0].id
        moved = [
            replace(
                each,
                id=each.id + shift,
                conversation_id=copy,
                parent_id=None if each.parent_id is None else each.parent_id + shift,
                corrects_id=None if each.corrects_id is None else each.corrects_id + shift,
            )
            for each in rounds
        ]
        assert list(rounds2) == moved, seed
        assert {id + shift: value for id, value in pieces.items()} == pieces2, seed
        assert about.head_id is not None
        assert replace(about, id=copy, head_id=about.head_id + shift) == about2, seed
    store.close()


def test_a_saved_conversation_is_exported(tmp_path: Path, file: Path) -> None:
    store = Store(tmp_path / "c.db")
    store.add_round(None, None, "another")
    one = store.add_round(None, None, "一")
    c = one.conversation_id
    ended = replace(one, state="done", reply="甲")
    store.finish_round(ended, [Piece(0.1, "甲", 3, float("-inf"))])
    two = store.add_round(c, one.id, "二")
    store.append_pieces(two.id, [Piece(0.2, "乙")])
    write_atomically(file, "".join(to_lines(store.transcript(c))))
    back = read_transcript(file)
    assert [(r.id, r.parent_id, r.query, r.reply, r.state) for r in back.rounds] == [
        (1, None, "一", "甲", "done"),
        (2, 1, "二", "乙", "interrupted"),
    ]
    assert back.pieces == {1: (Piece(0.1, "甲", 3, None),), 2: (Piece(0.2, "乙"),)}
    assert (back.conversation.title, len(back.path())) == ("一", 2)
    store.close()


def test_a_chain_of_five_thousand_rounds(file: Path) -> None:
    chain = tuple(Round(at, 0, at - 1 or None, "问", "答", "done") for at in range(1, 5_001))
    whole = Transcript(Conversation(0, "t", 0, 0, 5_000, 5_000), chain)
    write_atomically(file, "".join(to_lines(whole)))
    assert read_transcript(file).path() == chain


def test_an_export_is_a_consistent_snapshot(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    first = store.add_round(None, None, "问")
    c, parent = first.conversation_id, first.id
    done = threading.Event()

    def go_on() -> None:
        nonlocal parent
        while not done.is_set():
            begun = store.add_round(c, parent, "问")
            store.finish_round(replace(begun, state="done", reply="答"), [Piece(0, "答")])
            parent = begun.id

    talking = threading.Thread(target=go_on)
    talking.start()
    try:
        for _ in range(30):
            exported = store.transcript(c)
            assert len(exported.path()) == exported.conversation.round_count
            read_transcript("".join(to_lines(exported)).encode(), name="x")
    finally:
        done.set()
        talking.join()
    store.close()
