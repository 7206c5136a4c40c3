"""Caches and presets of a user who has only just begun."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chatui import locations


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
