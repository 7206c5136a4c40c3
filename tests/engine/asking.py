"""Helpers that load an engine and generate a reply."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from chatui.engine.engine import Engine
from chatui.messages import (
    Done,
    GenerateRequest,
    ModelSpec,
    PartialReply,
    Prefill,
    ReplyEvent,
    Token,
)
from chatui.sampling import SamplingSettings

FAMILIES = ("gpt2_chinese", "llama", "bloom", "qwen2", "moss")
"""Families of ``tiny_models`` that most tests of the engine run on."""


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
    partial_reply: PartialReply | None = None,
    window: int | None = None,
    **sampling: Any,
) -> list[ReplyEvent]:
    settings = SamplingSettings(**{"greedy": True, "max_new_tokens": 12} | sampling)
    request = GenerateRequest(
        query,
        history,
        None,
        settings,
        stop_strings,
        alternatives,
        partial_reply=partial_reply,
        window=window,
    )
    return list(engine.generate(request, stop_wanted))


def parts(events: list[ReplyEvent]) -> tuple[Prefill, list[Token], Done]:
    first, *middle, last = events
    assert isinstance(first, Prefill)
    assert isinstance(last, Done)
    tokens = [event for event in middle if isinstance(event, Token)]
    assert len(tokens) == len(middle)
    return first, tokens, last
