"""JSON files read value by value: all layouts, broken values, constant memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from chatui.conversation import json_records
from chatui.conversation.json_records import JsonRecords, UnreadableRecord, opened

RECORDS = [{"a": "春\n" * n, "n": n} for n in range(5)]


def read(file: Path, content: str | bytes, encoding: str | None = None) -> list[Any]:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with opened(file) as stream:
        return list(JsonRecords(stream, encoding))


def lines(records: list[Any] = RECORDS) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("content", "begin", "step"),
    [
        (lines(), 1, 1),
        (lines().replace("\n", "\r\n"), 1, 1),
        ("\ufeff" + lines(), 1, 1),
        (json.dumps(RECORDS), 1, 0),
        (json.dumps(RECORDS, ensure_ascii=False, indent=2), 2, 4),
        ("\n\n [\n" + ",\n".join(map(json.dumps, RECORDS)) + "\n]\n", 4, 1),
    ],
)
def test_every_layout_gives_the_same_values_with_their_lines(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    begin: int,
    step: int,
    chunk: int,
) -> None:
    monkeypatch.setattr(json_records, "_CHUNK_CHARACTERS", chunk)
    found = read(tmp_path / "f", content)
    assert found == [(begin + step * n, record) for n, record in enumerate(RECORDS)]


@pytest.mark.parametrize("encoding", ["gbk", "utf-16", "big5", "utf8", "utf-8-sig"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    records = [{"a": "中文"}, {"a": "文字"}]
    expected = [(1, records[0]), (2, records[1])]
    assert read(tmp_path / "f", lines(records).encode(encoding), encoding) == expected
    assert read(tmp_path / "g", lines(records).encode("utf-16")) == expected


def test_reading_utf_16_ends_at_invalid_bytes(tmp_path: Path) -> None:
    data = lines([{"a": "中"}, {"a": "文"}, {"a": "字"}]).encode("utf-16")
    for broken in (data[:-3], data[:-14] + b"\x00\xd8" + data[-14:]):
        *kept, fault = read(tmp_path / "f", broken)
        assert isinstance(fault, UnreadableRecord) and fault.reason
        assert kept == [(1, {"a": "中"}), (2, {"a": "文"})][: len(kept)]


def test_lists_on_lines_and_one_list_are_distinguished(tmp_path: Path) -> None:
    pairs = [["a", "b"], ["c", "d"]]
    assert read(tmp_path / "f", lines([pairs, pairs])) == [(1, pairs), (2, pairs)]
    assert read(tmp_path / "g", lines([pairs])) == [(1, pairs[0]), (1, pairs[1])]
    assert read(tmp_path / "h", json.dumps({"a": 1}, indent=1)) == [(1, {"a": 1})]


def test_a_broken_line_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    bad = [b'{"a": ', b"\xff\xfe\xff", b"[" * 100_000, b'{"a": 1} x']
    good = b'{"a": 1}'
    found = read(tmp_path / "f", b"\n".join([good, bad[0], b"", *bad[1:], good]))
    assert [each.line for each in found if isinstance(each, UnreadableRecord)] == [2, 4, 5, 6]
    assert [each for each in found if not isinstance(each, UnreadableRecord)] == [
        (1, {"a": 1}),
        (7, {"a": 1}),
    ]
    assert all(each.reason for each in found if isinstance(each, UnreadableRecord))


def test_a_lone_surrogate_is_read(tmp_path: Path) -> None:
    assert read(tmp_path / "f", '{"a": "\\ud83d"}\n{}\n') == [(1, {"a": "\ud83d"}), (2, {})]


@pytest.mark.parametrize("chunk", [9, 40, 1 << 20])
def test_a_broken_element_is_reported_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(json_records, "_CHUNK_CHARACTERS", chunk)
    text = json.dumps(RECORDS, ensure_ascii=False, indent=2).replace('"n": 2', '"n" 2')
    found = read(tmp_path / "f", text)
    assert [each for each in found if not isinstance(each, UnreadableRecord)] == [
        (2 + 4 * n, RECORDS[n]) for n in (0, 1, 3, 4)
    ]
    assert [each.line for each in found if isinstance(each, UnreadableRecord)] == [10]


def test_the_complete_elements_of_a_cut_array_are_read(tmp_path: Path) -> None:
    whole = json.dumps(RECORDS, ensure_ascii=False)
    for end in range(1, len(whole) - 1):
        found = read(tmp_path / "f", whole[:end])
        kept = [each for each in found if not isinstance(each, UnreadableRecord)]
        assert kept == [(1, record) for record in RECORDS[: len(kept)]]
        assert len(found) - len(kept) <= 1


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    for content in ("", "\n \n", "[]", "\ufeff"):
        assert read(tmp_path / "f", content) == []


@pytest.mark.parametrize("one_line", [True, False])
def test_a_large_array_is_read_in_constant_memory(tmp_path: Path, one_line: bool) -> None:
    element = json.dumps({"text": "x" * 10_000})
    between = ", " if one_line else ",\n"
    file = tmp_path / "f"
    file.write_text("[" + between.join([element] * 1500) + "]", encoding="utf-8")
    tracemalloc.start()
    with opened(file) as stream:
        assert sum(1 for _ in JsonRecords(stream)) == 1500
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12e6 < file.stat().st_size
