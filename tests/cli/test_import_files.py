"""``chatui import`` of other programs' files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import is_one_sentence

from chatui.cli.parser import run

SAID = [{"from": "human", "value": "春眠"}, {"from": "gpt", "value": "不觉晓"}]
SHAREGPT = {"conversations": SAID}


def test_files_and_folders_are_imported_and_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(SHAREGPT) + "\n[broken\n")
    (tmp_path / "b.md").write_text("User: 夜来\nAssistant: 风雨声", encoding="gbk")
    assert run(["import", str(tmp_path / "a.jsonl"), "--lang", "en"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "1 conversation with 1 round imported."
    assert "a.jsonl, line 2: not valid JSON" in said.err
    assert run(["import", str(tmp_path), "--encoding", "gbk"]) == 0
    assert "1 conversation was in the history already." in capsys.readouterr().out
    assert run(["search", "风雨"]) == 0
    assert "夜来" in capsys.readouterr().out


def test_many_unreadable_records_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps(SHAREGPT) + "\n" + "[\n" * 50)
    assert run(["import", str(file), "--lang", "en"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 22 and lines[-1] == "Skipped 50 records that could not be read."


@pytest.mark.parametrize("content", [None, b"", b"{}", b"text", b"\xff\xfe", b"SQLite format 3\0"])
def test_files_without_conversations_are_reported(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.db"
    if content is not None:
        file.write_bytes(content)
    assert run(["import", str(file)]) == 1
    said = capsys.readouterr()
    assert said.out.strip() in ("", "0 conversations")
    assert is_one_sentence(said.err.splitlines()[-1] + "\n")
