"""The engine's decode loop against golden values of the reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from asking import ask, loaded, parts

from chatui.engine.cache import LastPromptCache
from chatui.engine.engine import Engine
from chatui.messages import GenerateRequest

Maker = Callable[[str], Path]


def test_moss_logits_and_greedy_tokens(reference: Path, moss_reference: Path) -> None:
    engine = loaded(moss_reference, dtype="float32")
    network = engine._loaded().network
    for case in json.loads((reference / "moss" / "golden.json").read_text()):
        cache = network.new_cache()
        logits = network.prefill(case["input_ids"], cache, lambda: False)
        assert logits is not None
        torch.testing.assert_close(
            logits[: len(case["last_logits"])], torch.tensor(case["last_logits"]),
            atol=1e-4, rtol=0,
        )  # fmt: skip
        got = []
        for _ in case["greedy_24"]:
            got.append(int(logits.argmax()))
            logits = network.step(got[-1], cache)
        assert got == case["greedy_24"]


@pytest.mark.parametrize("windowed", [False, True])
def test_chatglm_golden_replies(reference: Path, golden_chatglm: Engine, windowed: bool) -> None:
    """With attention over the cache's used part, and over a fixed window as in a CUDA graph."""
    engine, model = golden_chatglm, golden_chatglm._loaded()
    assert (model.summary.family, model.summary.format) == ("chatglm", "chatglm-6b")
    model.network.decoder.windowed = windowed  # type: ignore[attr-defined]
    model.prompt_cache = LastPromptCache()
    for case in json.loads((reference / "chatglm-6b" / "golden.json").read_text("utf-8")):
        history = tuple((query, reply) for query, reply in case["history"])
        seen = engine.inspect(GenerateRequest(case["query"], history), 8)
        assert seen.prompt == case["prompt"]
        assert list(seen.input_ids) == case["input_ids"]
        assert [list(row) for row in seen.position_ids] == case["position_ids"]
        for candidate, (id, logit) in zip(seen.next, case["last_logits_top8"], strict=True):
            assert candidate.id == id
            assert candidate.logit == pytest.approx(logit, abs=2e-3)
        most = 6 if windowed else 16
        prefill, tokens, done = parts(ask(engine, case["query"], history, max_new_tokens=most))
        assert list(done.output_ids) == case["greedy_32"][: len(done.output_ids)]
        assert prefill.reused_tokens == 0
        assert "".join(token.text for token in tokens).strip() or done.text == ""


def test_chatglm_repairs_nan_as_the_original(golden_chatglm: Engine) -> None:
    weight = golden_chatglm._loaded().network.model.lm_head.weight  # type: ignore[attr-defined]
    before = weight[9].clone()
    with torch.no_grad():
        weight[9] = float("nan")
        done = parts(ask(golden_chatglm, max_new_tokens=5))[2]
        weight[9] = before
    assert done.output_ids == (5,) * 5
