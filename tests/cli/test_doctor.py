"""``chatui doctor``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chatui import __version__
from chatui.catalog import ModelEntry
from chatui.catalog.memory_need import CacheSize
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
    assert found["models"]["shiyou"]["device"] is not None
    assert found["models"]["shiyou"]["window"] == 512
    assert found["problems"] == []


def test_problems_are_reported_with_exit_code_1(
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
    devices = [{"name": "cuda:0", "free_bytes": 24 << 30}, {"name": "cpu", "free_bytes": 64 << 30}]

    def fit(
        gigabytes: float, context: int | str = "auto", weights: str = "auto", **known: Any
    ) -> dict[str, Any]:
        entry = ModelEntry("x", "folder", "x", memory_bytes=int(gigabytes * 1e9), **known)
        return doctor._best_fit(entry, devices, context, weights)

    assert [fit(size)["device"] for size in (1, 25, 99)] == ["cuda:0", "cuda:0", None]
    assert fit(40)["device"] == "cpu" and fit(40)["window"] == 0
    llama = {"dtype_bytes": 2, "cache": CacheSize(65_536), "context_limit": 131_072}
    on_card = fit(16.06, **llama)
    assert on_card["device"] == "cuda:0" and 40_000 < on_card["window"] < 65_000
    assert on_card["memory_bytes"] < 24 << 30
    assert fit(16.06, 8192, **llama)["window"] == 8192
    assert fit(16.06, 131_072, "plain", **llama)["device"] == "cpu"
    assert fit(16.06, 131_072, **llama)["bits"] == 4
    # In float32 on the CPU, and where only that fits in the 16 bits of the file.
    assert fit(28, "auto", "plain", **llama)["memory_bytes"] > 56e9
    assert fit(50, "auto", "plain", **llama)["memory_bytes"] < 64 << 30
    packed = fit(99, **llama)
    assert (packed["device"], packed["bits"]) == ("cpu", 8) and packed["window"] >= 2048
    assert "int8" in doctor._fit_text(packed)
    small = fit(0.0132, dtype_bytes=2, cache=CacheSize(3072), context_limit=512)
    assert (small["device"], small["small"], small["window"]) == ("cpu", True, 512)
    assert "faster on the CPU" in doctor._fit_text(small)
    assert doctor._fit_text(fit(99)) == "too large for the free memory"
