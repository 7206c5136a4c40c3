"""Transcripts of all versions are read, and faults are reported with their line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from example_transcripts import example, lines, version_1

from chatui.conversation.json_records import UnreadableRecord
from chatui.conversation.rounds import Conversation, Piece, Round, Transcript
from chatui.conversation.transcript_reader import read_transcript
from chatui.conversation.transcript_writer import to_lines
from chatui.errors import ChatuiError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "对话.jsonl"


def test_a_file_truncated_after_the_header_is_readable() -> None:
    data = "".join(to_lines(example())).encode()
    header = data.index(b"\n")
    for length in range(0, len(data), 2):
        if length < header:
            with pytest.raises(ChatuiError):
                read_transcript(data[:length], name="x")
            continue
        read = read_transcript(data[:length], name="x")
        whole = data[: data.rfind(b"\n", 0, length + 1) + 1]
        if length and data[length - 1 : length] == b"\n":
            assert read == read_transcript(whole, name="x")
        assert all(each.state != "streaming" for each in read.rounds)


def changed(place: int, **values: object) -> bytes:
    """Return the example with values of one line replaced; line 1 is the header."""
    document = lines("".join(to_lines(example())).encode())
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
        read_transcript(data, name="x.json")
    assert "x.json" in str(caught.value)
    assert len(str(caught.value)) < 300


def test_readable_lines_are_kept_with_on_fault() -> None:
    data = changed(8, parent=99).replace(b'"id": 5', b'"id": "5"').replace(b'"mood"', b"mood")
    faults: list[UnreadableRecord] = []
    read = read_transcript(data, faults.append, name="x")
    assert [fault.line for fault in faults] == [4, 5, 8]
    # The events of the unreadable round 2 are skipped without further faults.
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
    file.write_bytes(encode("".join(to_lines(example()))))
    assert read_transcript(file) == example()


def test_other_encodings(file: Path) -> None:
    one = Transcript(Conversation(0, "春", 1, 1, 1, 1), (Round(1, 0, None, "问", "答", "done"),))
    file.write_bytes("".join(to_lines(one)).encode("gbk"))
    assert read_transcript(file, encoding="gbk").rounds[0].reply == "答"
    with pytest.raises(ChatuiError):
        read_transcript(file)
    # Torn in the middle of a character.
    file.write_bytes("".join(to_lines(one)).encode("utf-16")[:-3])
    assert [(each.query, each.state) for each in read_transcript(file).rounds] == [
        ("问", "interrupted")
    ]


@pytest.mark.parametrize("indent", [None, 1])
def test_version_1_is_still_read(indent: int | None) -> None:
    whole = replace(example(), prompts={}, others=(), rounds=example().rounds[:4])
    plain = tuple(msgspec.structs.replace(piece, alternatives=()) for piece in whole.pieces[1])
    pieces = {number: whole.pieces[number] for number in (2, 3, 4)} | {1: plain}
    whole = replace(whole, pieces=pieces)
    data = json.dumps(version_1(whole), indent=indent).encode()
    assert read_transcript(b"\xef\xbb\xbf" + data, name="x") == whole
    for wrong in (b'"state": "asleep"', b'"state": 5'):
        with pytest.raises(ChatuiError, match="damaged"):
            read_transcript(data.replace(b'"state": "done"', wrong), name="x")
    with pytest.raises(ChatuiError, match="not a complete"):
        read_transcript(data[: len(data) // 2], name="x")


def test_tokens_after_the_end_and_surrogates_are_kept() -> None:
    query = '{"t": 0, "type": "query", "round": 1, "parent": null, "text": "q"}\n'
    token = '{"t": 1, "type": "token", "round": 1, "text": "%s",'
    token += ' "alternatives": [[1, "\\ud800", 0.5]]}\n'
    stop = '{"t": 2, "type": "stop", "round": 1, "state": "done"}\n'
    head = '{"format": "chatui-transcript", "version": 2, "start": 1}\n'
    text = head + query + token % "\\ud800" + stop + token % "b" + stop
    read = read_transcript(text.encode(), name="x")
    assert [piece.text for piece in read.pieces[1]] == ["\ud800", "b"]
    assert read.pieces[1][0].alternatives == ((1, "\ud800", 0.5),)
    assert read.rounds[0].reply == "\ud800b" and len(read.pieces) == 1


def test_an_unreadable_file_is_a_plain_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", Path("a\0b"), tmp_path / "none" / "x"):
        with pytest.raises(ChatuiError, match="cannot be read"):
            read_transcript(path)
