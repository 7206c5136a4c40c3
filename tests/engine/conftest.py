"""Tiny models, made once for the tests of the engine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
import torch
from asking import loaded

from chatui.engine.engine import Engine

# Threads do not speed up tiny tensors, and slow them down on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def unloads_models(frozen: None) -> None:
    """Apply the fixture ``frozen`` to all tests that unload models."""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a family's folder, made on first use; tests must not change it."""
    root = tmp_path_factory.mktemp("models")

    def make(family: str) -> Path:
        folder = root / family
        return folder if folder.exists() else getattr(tiny_models, family)(folder)

    return make


@pytest.fixture
def copied(made: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a copy of a family's folder that a test can change."""

    def copy(family: str) -> Path:
        return Path(shutil.copytree(made(family), tmp_path / family))

    return copy


@pytest.fixture(scope="session")
def moss_reference(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden MOSS with a tokenizer, which the reference lacks."""
    root = tmp_path_factory.mktemp("moss")
    folder = tiny_models.moss(root / "tokenizer")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((reference / "moss" / name).read_bytes())
    (folder / "generation_config.json").write_text(json.dumps({}))
    return folder


@pytest.fixture(scope="session")
def golden_chatglm(reference: Path) -> Engine:
    """The golden ChatGLM-6B, loaded once because its vocabulary is slow to read."""
    return loaded(reference / "chatglm-6b" / "model")
