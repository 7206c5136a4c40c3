"""ChatRWKV's changes to the logits, against v2/chat.py and the package's sampler."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from chatui.engine.penalties import ReplySoFar
from chatui.engine.sampler import Sampler, enabled_steps
from chatui.sampling import SamplingSettings

NEWLINE, END = 187, 0
COMMA, STOP = 7, 9


def encode(text: str) -> Sequence[int]:
    return {"\n": (NEWLINE,), "，": (COMMA,), "。": (STOP,), "：": (1, 2), "": ()}[text]


def logits_of(seed: int) -> torch.Tensor:
    return torch.randn(400, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize(("temperature", "top_p"), [(1.2, 0.5), (0.7, 0.85), (1.0, 0.3), (2.0, 0)])
def test_temperature_is_applied_last(
    temperature: float, top_p: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The probabilities equal those of PIPELINE.sample_logits."""
    os.environ["RWKV_JIT_ON"] = "0"
    utils: Any = pytest.importorskip("rwkv.utils", reason="the rwkv package is not installed")
    drawn: list[np.ndarray] = []

    def choice(a: int, p: np.ndarray) -> int:
        drawn.append(p)
        return 0

    monkeypatch.setattr(utils.np.random, "choice", choice)
    pipeline = object.__new__(utils.PIPELINE)
    for seed in range(20):
        logits = logits_of(seed)
        pipeline.sample_logits(logits.clone(), temperature, top_p)
        candidates: Any = (logits, None)
        settings = SamplingSettings(temperature=temperature, top_p=top_p, temperature_last=True)
        for step in enabled_steps(ReplySoFar(settings, ())):
            candidates = step(candidates)
        ours = torch.zeros(400).index_put((candidates[1],), torch.softmax(candidates[0], 0))
        torch.testing.assert_close(ours, torch.from_numpy(drawn[-1]).float(), atol=1e-6, rtol=1e-4)


def test_biases_as_in_chat_py() -> None:
    """All biases together, over a reply of 200 tokens."""
    settings = SamplingSettings(
        greedy=True, presence_penalty=0.4, frequency_penalty=0.4, penalty_decay=0.996,
        avoid_repeat="，：", newline_bias=True,
    )  # fmt: skip
    prompt = [3, COMMA]
    reply = ReplySoFar(settings, prompt, encode, {END})
    wanted = enabled_steps(reply)
    occurrence: dict[int, float] = {}
    last, adjustment = COMMA, -float("inf")
    for place in range(200):
        logits = logits_of(place)
        logits[[COMMA, NEWLINE]] += 8
        expected = logits.clone()
        expected[NEWLINE] += adjustment
        expected[END] = -float("inf")
        if last in (COMMA,):
            expected[last] = -float("inf")
        for token, count in occurrence.items():
            expected[token] -= 0.4 + count * 0.4
        found: Any = (logits, None)
        for step in wanted:
            found = step(found)
        torch.testing.assert_close(found[0], expected)
        last = int(expected.argmax())
        assert place > 1 or last != NEWLINE
        reply.output_ids.append(last)
        occurrence = {token: count * 0.996 for token, count in occurrence.items()}
        occurrence[last] = occurrence.get(last, 0) + 1
        if place <= 0:
            adjustment = -float("inf")
        elif place <= 40:
            adjustment = (place - 40) / 10
        elif place <= 150:
            adjustment = 0
        else:
            adjustment = min(3, (place - 150) * 0.25)


def test_repeated_punctuation_is_suppressed() -> None:
    logits = torch.zeros(400)
    logits[COMMA], logits[STOP], logits[5] = 9.0, 8.0, 7.0
    settings = SamplingSettings(greedy=True, avoid_repeat="，。：")
    sampler = Sampler(ReplySoFar(settings, [STOP], encode), 0)
    assert [sampler(logits) for _ in range(4)] == [COMMA, STOP, COMMA, STOP]
    assert [Sampler(ReplySoFar(settings, [COMMA], encode), 0)(logits) for _ in range(2)] == [
        STOP,
        STOP,
    ]
    assert Sampler(ReplySoFar(settings, [], encode), 0)(logits) == COMMA


def test_without_settings_logits_are_unchanged() -> None:
    assert not enabled_steps(ReplySoFar(SamplingSettings(), [1], encode, {END}))
    without_newline = ReplySoFar(SamplingSettings(greedy=True, newline_bias=True), [1])
    assert Sampler(without_newline, 0)(logits_of(1)) >= 0
