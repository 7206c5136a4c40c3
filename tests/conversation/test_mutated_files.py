"""Randomly damaged files: each is read, or refused with a plain error."""

from __future__ import annotations

import json
import random
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from damage import damaged, wrong_bytes
from example_transcripts import example, lines, version_1
from test_conversation_files import LLAMA_PAGE, LM_STUDIO, OPEN_WEBUI, chatgpt, oterm

from chatui.cli.request import read_history
from chatui.conversation.conversation_files import import_files
from chatui.conversation.dialogue_sources import DialogueSources
from chatui.conversation.json_records import UnreadableRecord
from chatui.conversation.store import Store
from chatui.conversation.transcript_reader import read_transcript
from chatui.conversation.transcript_writer import to_lines
from chatui.errors import ChatuiError


def test_a_damaged_transcript_of_version_1_is_read_or_refused() -> None:
    outcomes = set()
    for seed in range(150):
        data = damaged(version_1(example()), random.Random(seed))
        try:
            read = read_transcript(data, name="x.json")
        except ChatuiError as error:
            assert len(str(error)) < 600, seed
            outcomes.add("refused")
        else:
            "".join(to_lines(read)).encode()
            outcomes.add("read")
    assert outcomes == {"read", "refused"}


def test_the_readable_part_of_a_damaged_transcript_is_read() -> None:
    """With ``on_fault`` only a damaged header is refused; without it, any damage is."""
    events = lines("".join(to_lines(example())).encode())
    outcomes = set()
    for seed in range(150):
        dice = random.Random(seed)
        place = dice.randrange(1, len(events))
        data = b"".join(
            damaged(event, dice) + b"\n" if number == place else json.dumps(event).encode() + b"\n"
            for number, event in enumerate(events)
        )
        faults: list[UnreadableRecord] = []
        read = read_transcript(data, faults.append, name="x")
        again = read_transcript("".join(to_lines(read)).encode(), name="x")
        assert [each.query for each in again.rounds] == [each.query for each in read.rounds], seed
        try:
            read_transcript(data, name="x")
        except ChatuiError as error:
            assert faults and len(str(error)) < 600, seed
            outcomes.add("refused")
        else:
            assert not faults, seed
            outcomes.add("read")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("place", ["", "conversation", "rounds__0"])
def test_a_lone_surrogate_in_a_key_does_not_crash(place: str) -> None:
    document = version_1(example())
    part: Any = document
    for step in filter(None, place.split("__")):
        part = part[int(step) if isinstance(part, list) else step]
    part["\ud800"] = 1
    with pytest.raises(ChatuiError, match="damaged"):
        read_transcript(json.dumps(document).encode(), name="x.json")


def test_a_damaged_history_file_is_read_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    outcomes = set()
    for seed in range(200):
        dice = random.Random(seed)
        file.write_bytes(damaged([["问", "答"], ["\ud800", "再答"]], dice))
        try:
            history = read_history(str(file))
        except ChatuiError:
            outcomes.add("refused")
        else:
            assert all(isinstance(text, str) for pair in history for text in pair), seed
            outcomes.add("read")
    assert outcomes == {"read", "refused"}


RECORDS: list[Any] = [
    chatgpt(), OPEN_WEBUI, LLAMA_PAGE, LM_STUDIO,
    {"instruction": "a", "input": "b", "output": "c", "history": [["d", "e"]]},
    {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": ["a"]}]},
]  # fmt: skip
"""Files of other programs and of training data."""


def test_damaged_files_of_other_programs_are_reported_and_skipped(tmp_path: Path) -> None:
    dice = random.Random(1)
    told: list[str] = []
    with_store = Store(None)
    for _ in range(30):
        for record in RECORDS:
            file = tmp_path / dice.choice(("x.json", "x.jsonl"))
            file.write_bytes(damaged(dice.choice((record, [record])), dice))
            import_files(with_store, [file], on_progress=lambda _: None, on_skipped=told.append)
            list(DialogueSources([file]))
    with_store.close()
    assert len(told) > 25 and with_store.file is None


def test_damaged_text_and_databases_are_reported_and_skipped(tmp_path: Path) -> None:
    dice = random.Random(2)
    told: list[str] = []
    oterm(tmp_path / "store.db")
    database = (tmp_path / "store.db").read_bytes()
    store = Store(None)
    for _ in range(60):
        text, copy = tmp_path / "x.md", tmp_path / "x.db"
        text.write_bytes(
            wrong_bytes("User: 你好\nAssistant: 好\n用户：问\n助手：答\n".encode(), dice)
        )
        copy.write_bytes(database[:16] + wrong_bytes(database[16:], dice))
        import_files(store, [text, copy], on_progress=lambda _: None, on_skipped=told.append)
    store.close()
    assert told


def test_a_damaged_store_is_a_plain_error(tmp_path: Path) -> None:
    file = tmp_path / "whole.db"
    Store(file).close()
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = file.read_bytes()
    # SQLite's message quotes the damaged schema, with line breaks and invalid bytes.
    for wrong in (b"[\nTABLE rounds", b"\xffTABLE rounds"):
        file.write_bytes(whole.replace(b"TABLE rounds", wrong[: len(b"TABLE rounds")]))
        with pytest.raises(ChatuiError, match="damaged") as error:
            Store(file)
        assert "\n" not in str(error.value)
