"""Tiny models, made once for the room."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch

from chatui.engine.engine import Engine
from chatui.messages import Done, GenerateRequest, ModelSpec, Prefill, ReplyEvent, Token
from chatui.sampling import SamplingSettings

# Tiny tensors gain nothing from threads, and lose much where the machine is busy.
torch.set_num_threads(1)

FAMILIES = ("gpt2_chinese", "llama", "bloom", "qwen2", "moss")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder of each family, made when it is first asked for; not to be changed."""
    root = tmp_path_factory.mktemp("models")

    def make(family: str) -> Path:
        folder = root / family
        return folder if folder.exists() else getattr(tiny_models, family)(folder)

    return make


@pytest.fixture
def copied(made: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a family's folder, to be spoilt."""

    def copy(family: str) -> Path:
        return Path(shutil.copytree(made(family), tmp_path / family))

    return copy


@pytest.fixture(scope="session")
def moss_reference(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden MOSS with a tokenizer, which it comes without."""
    root = tmp_path_factory.mktemp("moss")
    folder = tiny_models.moss(root / "tokenizer")
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes((reference / "moss" / name).read_bytes())
    (folder / "generation_config.json").write_text(json.dumps({}))
    return folder


def spec(folder: Path, **values: Any) -> ModelSpec:
    return ModelSpec(folder.name, str(folder), **values)


def loaded(folder: Path, **values: Any) -> Engine:
    engine = Engine()
    engine.load(spec(folder, **values), lambda _: None)
    return engine


def ask(
    engine: Engine,
    query: str = "春眠不觉晓",
    history: tuple[tuple[str, str], ...] = (),
    stop_wanted: Callable[[], bool] = lambda: False,
    stop_strings: tuple[str, ...] = (),
    alternatives: int = 0,
    **sampling: Any,
) -> list[ReplyEvent]:
    settings = SamplingSettings(**{"greedy": True, "max_new_tokens": 24} | sampling)
    request = GenerateRequest(query, history, None, settings, stop_strings, alternatives)
    return list(engine.generate(request, stop_wanted))


def parts(events: list[ReplyEvent]) -> tuple[Prefill, list[Token], Done]:
    first, *middle, last = events
    assert isinstance(first, Prefill)
    assert isinstance(last, Done)
    tokens = [event for event in middle if isinstance(event, Token)]
    assert len(tokens) == len(middle)
    return first, tokens, last
