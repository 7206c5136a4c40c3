"""Tiny RWKV models in an engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from chatui.engine.engine import Engine
from chatui.engine.model import LoadedModel
from chatui.messages import Done, GenerateRequest, ModelSpec, Prefill, ReplyEvent, Token
from chatui.sampling import SamplingSettings

Ask = Callable[..., tuple[Prefill, list[Token], Done]]


@pytest.fixture
def load() -> Callable[..., Engine]:
    """Return a function that loads a file or folder into a new engine."""

    def load_(path: Path, **values: Any) -> Engine:
        engine = Engine()
        engine.load(ModelSpec(path.name, str(path), **values), lambda _: None)
        return engine

    return load_


@pytest.fixture
def model_of() -> Callable[[Engine], LoadedModel]:
    return lambda engine: engine._loaded()


@pytest.fixture
def ask() -> Ask:
    """Return a function that sends a query, greedy by default, and returns the engine's events."""

    def ask_(
        engine: Engine,
        query: str,
        history: Sequence[tuple[str, str]] = (),
        *,
        system: str | None = "",
        stop_wanted: Callable[[], bool] = lambda: False,
        **sampling: Any,
    ) -> tuple[Prefill, list[Token], Done]:
        settings = SamplingSettings(**{"greedy": True, "max_new_tokens": 12} | sampling)
        request = GenerateRequest(query, tuple(history), system, settings)
        first, *tokens, last = list[ReplyEvent](engine.generate(request, stop_wanted))
        assert isinstance(first, Prefill)
        assert isinstance(last, Done)
        return first, [token for token in tokens if isinstance(token, Token)], last

    return ask_


@pytest.fixture
def read() -> Callable[[LoadedModel, Sequence[int]], Tensor]:
    """Return a function that computes the logits after some tokens."""

    def read_(model: LoadedModel, ids: Sequence[int]) -> Tensor:
        cache = model.network.new_cache()
        logits = model.network.prefill(ids, cache, lambda: False)
        assert logits is not None
        return logits

    return read_


@pytest.fixture
def authors() -> Callable[[Path, str], Callable[[Sequence[int]], Tensor]]:
    """Return a function that runs the `rwkv` package on a `.pth` file."""
    os.environ["RWKV_JIT_ON"] = "0"
    package = pytest.importorskip("rwkv.model", reason="the rwkv package is not installed")

    def run(file: Path, strategy: str) -> Callable[[Sequence[int]], Tensor]:
        network = package.RWKV(str(file), strategy, verbose=False)
        return lambda ids: torch.as_tensor(network.forward(list(ids), None)[0]).float()

    return run
