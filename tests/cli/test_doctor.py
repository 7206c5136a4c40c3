"""``chatui doctor``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatui import __version__
from chatui.cli import doctor
from chatui.cli.parser import run


def test_the_doctor_sees_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    found = json.loads(said.out)
    assert found["versions"]["chatui"] == __version__ and found["versions"]["torch"]
    assert found["devices"][-1]["name"] == "cpu"
    assert found["devices"][-1]["memory_bytes"] >= found["devices"][-1]["free_bytes"] > 0
    assert [folder["name"] for folder in found["folders"]] == ["config", "data", "models"]
    assert found["models"]["shiyou"] is not None
    assert found["problems"] == []


def test_what_is_in_the_way_is_told_and_exit_1(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.parent.mkdir(exist_ok=True)
    home.write_text("a file where the folder should be")
    monkeypatch.setattr(doctor.sys, "executable", "/no/such/python")
    assert run(["--lang", "en", "doctor"]) == 1
    said = capsys.readouterr()
    assert "Versions\n" in said.out and str(home) in said.out
    assert f"{home} cannot be written" in said.err and "torch does not start" in said.err
    assert "Traceback" not in said.err


def test_a_model_fits_the_first_device_that_has_room() -> None:
    devices = [{"name": "cuda:0", "free_bytes": 8}, {"name": "cpu", "free_bytes": 16}]
    fits = [doctor._fitting(size, devices) for size in (0, 8, 9, 17)]
    assert fits == ["cuda:0", "cuda:0", "cpu", None]
