"""Transcripts are read as written, match the schema, and report faults with their line."""

from __future__ import annotations

import json
import os
import random
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from chatui.conversation import transcript
from chatui.conversation.exports import write_atomically
from chatui.conversation.json_records import UnreadableRecord
from chatui.conversation.rounds import Conversation, Piece, RenderedPrompt, Round
from chatui.conversation.store import Store
from chatui.conversation.transcript import Transcript
from chatui.conversation.transcript_events import mark_prompt
from chatui.conversation.transcript_reader import parse_transcript, read_transcript
from chatui.errors import ChatuiError

DOCS = Path(__file__).parents[2] / "docs"
NASTY = '\x00\x1b[31m\x1b]0;t\x07\x9b31m\x7f[bold]\ud800\u2028\r\n\t"\\u0041"😀'


def example() -> Transcript:
    rounds = (
        Round(1, 0, None, "静夜思", "床前明月光", "done", "诗友", "shiyou", "eos", 2**64 - 1),
        Round(2, 0, 1, NASTY, NASTY, "failed", NASTY, error=NASTY, sampling={"top_k": 5}),
        Round(3, 0, 1, "", "", "stopped", started_at=1.7e9, seconds=2.5, output_tokens=7),
        Round(4, 0, 3, "四", "丁", "done", prompt_tokens=9, reused_tokens=3, started_at=1.7e9),
        Round(5, 0, 3, "四", "正", "done", rating=1, note=NASTY, corrects_id=4),
    )
    pieces = {
        1: (
            Piece(0.125, "床前", 5, -0.5, ((5, "床", 0.75), (6, NASTY, 0.25))),
            Piece(0.25, "明月光"),
        ),
        2: (Piece(0.0, "\ud83d"), Piece(0.0, "\ude00")),
        3: (),
        4: (Piece(0.1, "丁"),),
        5: (),
    }
    others: tuple[dict[str, Any], ...] = (
        {"t": -1, "type": "model", "name": "诗友", "adapters": [{"path": "x", "scale": 0.5}]},
        {"t": 0.2, "type": "mood", "round": 1, "text": NASTY, "more": [1, {"a": None}]},
    )
    about = Conversation(0, NASTY, 1.7e9, 1.7e9 + 0.5, 2, 3)
    return Transcript(about, rounds, pieces, {4: mark_prompt("提示", 1)}, others)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "对话.jsonl"


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.decode().splitlines()]


def check(data: bytes) -> None:
    """Check every line against the schema."""
    schema = json.loads((DOCS / "transcript.schema.json").read_text())
    header, *events = lines(data)
    jsonschema.Draft202012Validator(
        schema["$defs"]["header"] | {"$defs": schema["$defs"]}
    ).validate(header)
    validator = jsonschema.Draft202012Validator(
        schema["$defs"]["event"] | {"$defs": schema["$defs"]}
    )
    for event in events:
        validator.validate(event)


def test_a_transcript_is_read_as_written_and_matches_the_schema(file: Path) -> None:
    write_atomically(file, transcript.dumps(example()))
    assert read_transcript(file) == example()
    assert [this.id for this in example().path()] == [1, 3]
    check(file.read_bytes())


def test_the_schema_refuses_wrong_events() -> None:
    data = transcript.dumps(example()).encode()
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
    (one,) = parse_transcript(data, "x").rounds
    assert (one.reply, one.seed, one.state) == ("床前明月光", 7, "done")


def test_a_file_has_no_control_characters(file: Path) -> None:
    write_atomically(file, transcript.dumps(example()))
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
        written = transcript.dumps(transcript.from_store(store, id_))
        check(written.encode())
        read = parse_transcript(written.encode(), "x")
        assert transcript.dumps(read) == written, seed
        (copy,) = store.add_conversations([(read.conversation, read.rounds, read.pieces)])
        about, rounds, pieces = store.full_conversation(id_)
        about2, rounds2, pieces2 = store.full_conversation(copy)
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
    write_atomically(file, transcript.dumps(transcript.from_store(store, c)))
    back = read_transcript(file)
    assert [(r.id, r.parent_id, r.query, r.reply, r.state) for r in back.rounds] == [
        (1, None, "一", "甲", "done"),
        (2, 1, "二", "乙", "interrupted"),
    ]
    assert back.pieces == {1: (Piece(0.1, "甲", 3, None),), 2: (Piece(0.2, "乙"),)}
    assert (back.conversation.title, back.conversation.round_count) == ("一", 2)
    store.close()


def test_a_file_truncated_after_the_header_is_readable() -> None:
    data = transcript.dumps(example()).encode()
    header = data.index(b"\n")
    for length in range(0, len(data), 2):
        if length < header:
            with pytest.raises(ChatuiError):
                parse_transcript(data[:length], "x")
            continue
        read = parse_transcript(data[:length], "x")
        whole = data[: data.rfind(b"\n", 0, length + 1) + 1]
        if length and data[length - 1 : length] == b"\n":
            assert read == parse_transcript(whole, "x")
        assert all(each.state != "streaming" for each in read.rounds)


def changed(place: int, **values: object) -> bytes:
    """Return the example with values of one line replaced; line 1 is the header."""
    document = lines(transcript.dumps(example()).encode())
    document[place - 1] |= values
    return b"".join(json.dumps(event).encode() + b"\n" for event in document)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"hello", "not valid JSON"),
        (b"\xff\xfe", "not a transcript"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "not valid JSON"),
        (b"1" * 10_000, "not valid JSON"),
        (b'{"format": NaN}', "not valid JSON"),
        (b"[]", "not a transcript"),
        (b"null", "not a transcript"),
        (b'[["query", "reply"]]', "not a transcript"),
        (b'{"format": "other"}', "not a transcript"),
        (b'{"format": ["chatui-transcript"]}', "not a transcript"),
        (changed(1, version=3), "newer chatui"),
        (changed(1, version="1"), "damaged.*line 1"),
        (changed(1, version=0), "damaged.*line 1"),
        (changed(1, start="x"), "damaged.*line 1"),
        (changed(3, text=5), "line 3"),
        (changed(3, parent=7), "line 3: round 1 has no parent 7"),
        (changed(8, round=1), "line 8: round 1 occurs twice"),
        (changed(8, parent=2), "line 8: round 2 has no parent 2"),
        (changed(8, parent=3), "line 8: round 2 has no parent 3"),
        (changed(4, id="x"), "line 4"),
        (changed(4, t=None), "line 4"),
        (changed(4, t=1e400), "line 4"),
        (changed(3, t=1e300), "line 3: the time is out of range"),
        (changed(4, t=1e8), "line 4: the time is out of range"),
        (changed(4, type=None), "line 4"),
        (changed(4, round=9), "line 4: there is no round 9"),
        (changed(7, state="asleep"), "line 7"),
        (changed(7, seconds=-1), "line 7"),
        (changed(6, **{"\ud800": 1}), "line 6"),
        (changed(1) + b"5\n", "line 24: not a JSON object"),
        (changed(1) + b"\xff\n", "line 24: the text does not match"),
        (changed(1) + b'{"t": NaN, "type": "x"}\n', "line 24: not valid JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_files_are_a_plain_error_with_the_line(data: bytes, sentence: str) -> None:
    with pytest.raises(ChatuiError, match=sentence) as caught:
        parse_transcript(data, "x.json")
    assert "x.json" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_readable_lines_are_kept_with_on_fault() -> None:
    data = changed(8, parent=99).replace(b'"id": 5', b'"id": "5"').replace(b'"mood"', b"mood")
    faults: list[UnreadableRecord] = []
    read = parse_transcript(data, "x", faults.append)
    assert [fault.line for fault in faults] == [4, 5, 8]
    # Round 2 could not be read; what belongs to it is no further fault.
    assert [each.id for each in read.rounds] == [1, 3, 4, 5]
    assert read.pieces[1] == (Piece(0.25, "明月光"),)


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\n\n").encode(),
        lambda text: text.encode("utf-16"),
    ],
)
def test_byte_order_marks_line_ends_and_encodings(encode: Any, file: Path) -> None:
    file.write_bytes(encode(transcript.dumps(example())))
    assert read_transcript(file) == example()


def test_other_encodings(file: Path) -> None:
    one = Transcript(Conversation(0, "春", 1, 1, 1, 1), (Round(1, 0, None, "问", "答", "done"),))
    file.write_bytes(transcript.dumps(one).encode("gbk"))
    assert read_transcript(file, encoding="gbk").rounds[0].reply == "答"
    with pytest.raises(ChatuiError):
        read_transcript(file)
    # Torn in the middle of a character.
    file.write_bytes(transcript.dumps(one).encode("utf-16")[:-3])
    assert [(each.query, each.state) for each in read_transcript(file).rounds] == [
        ("问", "interrupted")
    ]


def test_a_chain_of_five_thousand_rounds(file: Path) -> None:
    chain = tuple(Round(at, 0, at - 1 or None, "问", "答", "done") for at in range(1, 5_001))
    whole = Transcript(Conversation(0, "t", 0, 0, 5_000, 5_000), chain)
    write_atomically(file, transcript.dumps(whole))
    assert read_transcript(file).path() == chain


def version_1(whole: Transcript) -> dict[str, Any]:
    """Return a transcript of version 1."""
    about = whole.conversation
    names = ("query", "reply", "state", "model", "format", "finish_reason", "seed", "sampling")
    names += ("prompt_tokens", "reused_tokens", "output_tokens", "started_at", "seconds", "error")
    return {
        "format": "chatui-transcript",
        "version": 1,
        "conversation": {
            "title": about.title,
            "created_at": about.created_at,
            "updated_at": about.updated_at,
            "head": about.head_id,
        },
        "rounds": [
            {"id": each.id, "parent": each.parent_id}
            | {name: getattr(each, name) for name in names}
            | {
                "pieces": [
                    [piece.at_seconds, piece.text, piece.token_id, piece.logprob]
                    for piece in whole.pieces.get(each.id, ())
                ]
            }
            for each in whole.rounds
        ],
    }


@pytest.mark.parametrize("indent", [None, 1])
def test_version_1_is_still_read(indent: int | None) -> None:
    whole = replace(example(), prompts={}, others=(), rounds=example().rounds[:4])
    plain = tuple(msgspec.structs.replace(piece, alternatives=()) for piece in whole.pieces[1])
    pieces = {number: whole.pieces[number] for number in (2, 3, 4)} | {1: plain}
    whole = replace(whole, pieces=pieces)
    data = json.dumps(version_1(whole), indent=indent).encode()
    assert parse_transcript(b"\xef\xbb\xbf" + data, "x") == whole
    for wrong in (b'"state": "asleep"', b'"state": 5'):
        with pytest.raises(ChatuiError, match="damaged"):
            parse_transcript(data.replace(b'"state": "done"', wrong), "x")
    with pytest.raises(ChatuiError, match="not a complete"):
        parse_transcript(data[: len(data) // 2], "x")


def test_unreadable_and_unwritable_files_are_plain_errors(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("a\0b"), tmp_path / "none" / "x"):
        with pytest.raises(ChatuiError, match="cannot be read"):
            read_transcript(path)
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "x", tmp_path / "none" / "x", Path("a\0b")):
        with pytest.raises(ChatuiError, match="cannot be written"):
            write_atomically(path, transcript.dumps(example()))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_keeps_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ChatuiError, match="No space left"):
        write_atomically(file, transcript.dumps(example()))
    assert file.read_text() == "old"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_replaced_file_keeps_its_permissions(file: Path) -> None:
    file.write_text("old")
    file.chmod(0o600)
    write_atomically(file, "new")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("new", 0o600)


def test_a_lone_surrogate_keeps_the_old_file(file: Path) -> None:
    file.write_text("old")
    with pytest.raises(ChatuiError, match="cannot be written"):
        write_atomically(file, "\ud800")
    assert file.read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="POSIX links and devices")
def test_links_are_followed_and_devices_are_written(file: Path) -> None:
    link = file.with_name("link.json")
    link.symlink_to(file)
    write_atomically(link, transcript.dumps(example()))
    assert link.is_symlink() and read_transcript(file) == example()
    write_atomically(Path("/dev/null"), transcript.dumps(example()))
    assert Path("/dev/null").is_char_device()


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
            exported = transcript.from_store(store, c)
            assert len(exported.path()) == exported.conversation.round_count
            parse_transcript(transcript.dumps(exported).encode(), "x")
    finally:
        done.set()
        talking.join()
    store.close()


def test_tokens_after_the_end_and_surrogates_are_kept() -> None:
    query = '{"t": 0, "type": "query", "round": 1, "parent": null, "text": "q"}\n'
    token = '{"t": 1, "type": "token", "round": 1, "text": "%s",'
    token += ' "alternatives": [[1, "\\ud800", 0.5]]}\n'
    stop = '{"t": 2, "type": "stop", "round": 1, "state": "done"}\n'
    head = '{"format": "chatui-transcript", "version": 2, "start": 1}\n'
    text = head + query + token % "\\ud800" + stop + token % "b" + stop
    read = parse_transcript(text.encode(), "x")
    assert [piece.text for piece in read.pieces[1]] == ["\ud800", "b"]
    assert read.pieces[1][0].alternatives == ((1, "\ud800", 0.5),)
    assert read.rounds[0].reply == "\ud800b" and len(read.pieces) == 1
