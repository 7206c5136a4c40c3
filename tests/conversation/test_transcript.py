"""Transcripts: what is written is read, and everything else is a plain error."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from chatui.conversation import transcript
from chatui.conversation.exports import write_whole
from chatui.conversation.rounds import Conversation, Piece, Round
from chatui.conversation.store import Store
from chatui.conversation.transcript import Transcript
from chatui.errors import ChatuiError

NASTY = '\x00\x1b[31m\x1b]0;t\x07\x9b31m\x7f[bold]\ud800\u2028\r\n\t"\\u0041"😀'


def example() -> Transcript:
    rounds = (
        Round(1, 0, None, "静夜思", "床前明月光", "done", "诗友", "shiyou", "eos", 2**64 - 1),
        Round(2, 0, 1, NASTY, NASTY, "failed", NASTY, error=NASTY, sampling={"top_k": 5}),
        Round(3, 0, 1, "", "", "stopped", started_at=1.7e9, seconds=2.5, output_tokens=7),
    )
    pieces = {
        1: (Piece(0.125, "床前", 5, -0.5), Piece(0.25, "明月光")),
        2: (Piece(0.0, "\ud83d"), Piece(0.0, "\ude00")),
        3: (),
    }
    return Transcript(Conversation(0, NASTY, 1.7e9, 1.7e9 + 0.5, 2, 3), rounds, pieces)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "对话.json"


def test_what_is_written_is_read(file: Path) -> None:
    write_whole(file, transcript.dumps(example()))
    assert transcript.read(file) == example()
    assert [this.id for this in example().path()] == [1, 3]


def test_the_file_is_plain_json_that_a_terminal_does_not_obey(file: Path) -> None:
    write_whole(file, transcript.dumps(example()))
    text = file.read_text(encoding="utf-8")
    assert json.loads(text)["rounds"][0]["query"] == "静夜思"
    assert "床前明月光" in text
    assert not any((ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 for c in text)
    # One line a round, so that two files can be compared.
    assert len(text.splitlines()) == 3 + 3 + 1


def test_a_saved_conversation_becomes_a_transcript(tmp_path: Path, file: Path) -> None:
    store = Store(tmp_path / "c.db")
    store.add_round(store.create_conversation().id, None, "another")
    c = store.create_conversation().id
    one = store.add_round(c, None, "一")
    ended = replace(one, state="done", reply="甲")
    store.finish_round(ended, [Piece(0.1, "甲", 3, float("-inf"))])
    two = store.add_round(c, one.id, "二")
    store.append_pieces(two.id, [Piece(0.2, "乙")])
    write_whole(file, transcript.dumps(transcript.of_store(store, c)))
    back = transcript.read(file)
    assert [(r.id, r.parent_id, r.query, r.reply, r.state) for r in back.rounds] == [
        (1, None, "一", "甲", "done"),
        (2, 1, "二", "乙", "interrupted"),
    ]
    assert back.pieces == {1: (Piece(0.1, "甲", 3, None),), 2: (Piece(0.2, "乙"),)}
    assert (back.conversation.title, back.conversation.round_count) == ("一", 2)
    store.close()


def test_cut_off_anywhere_is_a_plain_error(file: Path) -> None:
    data = transcript.dumps(example()).encode()
    for length in range(len(data.rstrip())):
        with pytest.raises(ChatuiError) as caught:
            transcript.loads(data[:length], "x.json")
        assert "cut off" in str(caught.value), (length, data[:length][-20:])


def changed(**values: object) -> bytes:
    document = json.loads(transcript.dumps(example()))
    for path, value in values.items():
        *steps, last = path.split("__")
        part = document
        for step in steps:
            part = part[int(step) if isinstance(part, list) else step]
        part[int(last) if isinstance(part, list) else last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"hello", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "JSON|cut off"),
        (b"[" * 100_000 + b"]" * 100_000, "not valid JSON"),
        (b"1" * 10_000, "not valid JSON"),
        (b'{"format": NaN}', "not valid JSON"),
        (b"[]", "not a transcript"),
        (b"null", "not a transcript"),
        (b'[["query", "reply"]]', "not a transcript"),
        (b'{"format": "other"}', "not a transcript"),
        (b'{"format": ["chatui-transcript"]}', "not a transcript"),
        (changed(version=2), "newer chatui"),
        (changed(version="1"), "damaged"),
        (changed(version=0), "damaged"),
        (changed(rounds=None), "damaged"),
        (changed(rounds__0__query=5), "damaged"),
        (changed(rounds__0__state="asleep"), "damaged"),
        (changed(rounds__0__pieces=[[1, "x"]]), "damaged"),
        (changed(rounds__0__pieces=[[-1, "x", 0, None]]), "damaged"),
        (changed(rounds__0__pieces=[[1e300, "x", 0, None]]), "damaged"),
        (changed(rounds__0__seconds=-1), "damaged"),
        (changed(rounds__1__id=1), "round 1 occurs twice"),
        (changed(rounds__1__parent=2), "has no parent 2"),
        (changed(rounds__1__parent=3), "has no parent 3"),
        (changed(conversation__head=9), "no round 9"),
    ],
)
def test_anything_else_is_a_plain_error(data: bytes, sentence: str) -> None:
    with pytest.raises(ChatuiError, match=sentence) as caught:
        transcript.loads(data, "x.json")
    assert "x.json" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_what_a_later_version_1_adds_is_overlooked_and_a_bom_too() -> None:
    data = b"\xef\xbb\xbf" + changed(rounds__0__mood="good", more=1)
    assert transcript.loads(data, "x") == example()


def test_a_file_that_cannot_be_read_or_written_is_a_plain_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("a\0b"), tmp_path / "none" / "x"):
        with pytest.raises(ChatuiError, match="cannot be read"):
            transcript.read(path)
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "x", tmp_path / "none" / "x", Path("a\0b")):
        with pytest.raises(ChatuiError, match="cannot be written"):
            write_whole(path, transcript.dumps(example()))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ChatuiError, match="No space left"):
        write_whole(file, transcript.dumps(example()))
    assert file.read_text() == "old"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_lone_surrogates_cannot_tear_a_file(file: Path) -> None:
    file.write_text("old")
    with pytest.raises(ChatuiError, match="cannot be written"):
        write_whole(file, "\ud800")
    assert file.read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="POSIX links and devices")
def test_links_are_followed_and_devices_written(file: Path) -> None:
    link = file.with_name("link.json")
    link.symlink_to(file)
    write_whole(link, transcript.dumps(example()))
    assert link.is_symlink() and transcript.read(file) == example()
    write_whole(Path("/dev/null"), transcript.dumps(example()))
    assert Path("/dev/null").is_char_device()


def test_an_export_is_of_one_moment(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    c = store.create_conversation().id
    parent: int | None = None
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
            exported = transcript.of_store(store, c)
            assert len(exported.path()) == exported.conversation.round_count
            transcript.loads(transcript.dumps(exported).encode(), "x")
    finally:
        done.set()
        talking.join()
    store.close()
