"""Caches and presets of a user who has only just begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import HubServer

from chatui import locations
from chatui.catalog.fetching import transfer


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Gives the snapshot folder of a repository in an otherwise empty Hugging Face cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))

    def snapshot(hub_id: str) -> Path:
        repository = tmp_path / "hub" / f"models--{hub_id.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True, exist_ok=True)
        (repository / "refs" / "main").write_text("0123abcd")
        folder = repository / "snapshots" / "0123abcd"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    return snapshot


@pytest.fixture
def users_preset() -> Callable[[str, str], Path]:
    """Writes a preset of the user's own."""

    def write(name: str, text: str) -> Path:
        file = locations.user_presets_folder() / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that failed is made again at once."""
    monkeypatch.setattr(transfer, "_WAIT_SECONDS", 0.01)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A hub on loopback that this process and its children talk to, with empty caches."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "modelscope-home"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    # The library reads the environment when it is imported, the children when they start.
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with HubServer() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", running.url)
        yield running
