"""Fixtures that all rooms share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from chatui import locales

# A shell's background job ignores Ctrl+C, and so would all that the tests start and stop with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of golden data, where it is at hand."""
    folder = Path(
        os.environ.get("CHATUI_REFERENCE")
        or Path(__file__).resolve().parents[1].parent / "shared" / "reference"
    )
    if not folder.is_dir():
        pytest.skip("the golden data is not at hand (set CHATUI_REFERENCE)")
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for every test, in English, without a hub."""
    folder = tmp_path / "home"
    monkeypatch.setenv("CHATUI_HOME", str(folder))
    monkeypatch.setenv("CHATUI_LANG", "en")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    locales.set_language("en")
    return folder
