"""Fixtures that put the parts of a preset on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from preset_shelf import Preset, Shelf

from chatui.catalog import library, resolve
from chatui.messages import ModelSpec
from chatui.settings import Settings

# Threads do not help with tiny tensors, and cost much on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def unloads_models(frozen: None) -> None:
    """Apply the fixture ``frozen`` to all tests, because they unload models."""


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def preset(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Preset:
    """Return a function that gives the spec of a preset with only its own parts on the disk."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))

    def put(name: str, base: str = "", **settings: str) -> ModelSpec:
        """Args: ``base`` is the hub id of a copy of the base."""
        found = library.load().by_name[name]
        other = replace(found.base, hf=base) if base else None
        shelf.place(found, tmp_path, other)
        folders = (str(tmp_path / "models"),)
        return resolve(name, Settings(model_folders=folders, **settings))

    return put
