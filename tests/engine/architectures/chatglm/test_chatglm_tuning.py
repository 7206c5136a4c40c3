"""A LoRA trained on ChatGLM-6B's architecture can be loaded and changes its replies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import loaded, spec

from chatui.engine.engine import Engine
from chatui.engine.tuning.lora_base import TuningOptions
from chatui.engine.tuning.tuning_run import tune
from chatui.messages import Adapter, GenerateRequest

REQUEST = GenerateRequest("晚上")


def probability(engine: Engine, token: int) -> float:
    """Return the probability of ``token`` as the first of the reply."""
    candidates = engine.inspect(REQUEST, 10_000).next
    return next(each.probability for each in candidates if each.id == token)


@pytest.mark.parametrize("bits", [0, 8, 4])
def test_training_raises_the_probability_of_a_reply(
    folder: Path, packed: Callable[[int], Path], tmp_path: Path, bits: int
) -> None:
    """On plain and packed checkpoints; the adapter works with both."""
    base = packed(bits) if bits else folder
    engine = loaded(folder)
    prompt = engine.inspect(REQUEST, 1).input_ids
    answer = prompt[0]
    file = tmp_path / "examples.jsonl"
    labels = [-100] * (len(prompt) - 1) + [prompt[-1], answer]
    row = {"input_ids": [*prompt, answer], "labels": labels}
    file.write_text(f"{json.dumps(row)}\n" * 20)
    target = tmp_path / "adapter"
    options = TuningOptions(rank=4, batch=4, epochs=1, learning_rate=0.1)
    state = tune(spec(base), file, target, options, lambda _: None)
    assert state.losses[-1] < state.losses[0]
    (_, before), (_, after) = state.held_out
    assert after < before
    for place in {base, folder}:
        tuned = loaded(place, adapters=(Adapter(str(target)),))
        assert probability(tuned, answer) > probability(loaded(place), answer)
