"""Scoring of given replies on every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from asking import FAMILIES, ask, loaded, parts

from chatui.engine.engine import Engine
from chatui.errors import ChatuiError
from chatui.messages import GenerateRequest, PartialReply, Scored

Maker = Callable[[str], Path]
QUERY, HISTORY = "春眠不觉晓", (("甲", "乙"),)


def scored(engine: Engine, text: str, ids: tuple[int, ...] = ()) -> Scored:
    request = GenerateRequest(QUERY, HISTORY, partial_reply=PartialReply(text, ids))
    return engine.score(request, lambda: False)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_equal_the_log_probabilities_of_generation(made: Maker, family: str) -> None:
    engine = loaded(made(family), eos_ids=(100_000,))
    _, tokens, done = parts(ask(engine, QUERY, HISTORY, max_new_tokens=40))
    found = scored(engine, "x", done.output_ids)
    assert found.logprobs == pytest.approx([token.logprob for token in tokens], abs=1e-3)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_text_is_scored_as_a_reply(made: Maker, family: str) -> None:
    engine = loaded(made(family))
    model = engine._loaded()
    prompt = parts(ask(engine, QUERY, HISTORY))[0]
    text = "处处闻啼鸟"
    ids = [*prompt.input_ids, *model.codec.encode_reply(text)]
    with torch.inference_mode():
        logits = model.network.model(torch.tensor([ids])).logits[0]  # type: ignore[attr-defined]
    rows = logits.log_softmax(-1)[len(prompt.input_ids) - 1 : -1]
    expected = rows.gather(1, torch.tensor(ids[len(prompt.input_ids) :])[:, None])[:, 0]
    assert scored(engine, text).logprobs == pytest.approx(expected.tolist(), abs=1e-3)


def test_an_empty_reply_and_a_stop(made: Maker) -> None:
    engine = loaded(made("llama"))
    assert scored(engine, "") == Scored(())
    request = GenerateRequest(QUERY, partial_reply=PartialReply("处处"))
    with pytest.raises(ChatuiError, match="stopped"):
        engine.score(request, lambda: True)
