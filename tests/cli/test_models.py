"""``chatui models``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command import InTerminal
from rich.cells import cell_len

from chatui.cli.parser import run


def test_the_embedded_presets_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "--json"]) == 0
    entries = {entry["reference"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert {"shiyou", "xuxie"} <= entries.keys()
    assert entries["shiyou"]["usable"] and entries["shiyou"]["family"] == "gpt2"

    assert run(["--lang", "zh", "models"]) == 0
    table = capsys.readouterr().out
    assert "● " in table and "shiyou" in table and "古诗" in table and "\x1b" not in table


def test_an_invalid_user_preset_is_reported(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "presets").mkdir(parents=True)
    (home / "presets" / "mine.toml").write_text("family = 3\n", encoding="utf-8")
    assert run(["models", "--json"]) == 0
    said = capsys.readouterr()
    assert "mine.toml" in said.err
    assert json.loads(said.out)


def test_wrong_settings_are_one_sentence(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir(parents=True)
    (home / "settings.toml").write_text("modle = 1\n", encoding="utf-8")
    assert run(["models"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "modle" in said.err and said.err.count("\n") == 1


def test_the_table_fits_the_terminal(in_terminal: InTerminal) -> None:
    lines = in_terminal("models", columns=60).splitlines()
    table = lines[: lines.index("")]
    assert len(table) > 10 and all(cell_len(line) <= 60 for line in table)
    assert any(line.endswith("…") for line in table)
    assert "chatui pull NAME" in lines[-1]


def test_the_details_of_one_model(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--lang", "en", "models", "Luotuo"]) == 0
    said = capsys.readouterr().out
    for fact in ("yahma/llama-7b-hf (not on", "silk-road/luotuo", "int4 4.0 GB", "2048 tokens"):
        assert fact in said
    assert '"### Instruction:", "### Response:"' in said
    assert "chatui pull luotuo" in said and "LC1332/Luotuo-Chinese-LLM" in said

    assert run(["models", "shiyou", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["usable"] and found["parts"][0]["role"] == "base" and found["parts"][0]["path"]

    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bloom"}', encoding="utf-8")
    assert run(["models", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["family"], found["usable"]) == ("bloom", False) and "weights" in found["missing"]

    assert run(["models", "luotou"]) == 1
    assert "luotuo" in capsys.readouterr().err
