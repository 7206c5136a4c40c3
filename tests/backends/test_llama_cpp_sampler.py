"""llama.cpp's sampling in numpy against the engine's in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from chatui.backends.llama_cpp.sampler import Sampler, candidates
from chatui.engine import samplers
from chatui.engine.penalties import penalties
from chatui.sampling import SamplingSettings

SETTINGS = [
    SamplingSettings(),
    SamplingSettings(temperature=0.3),
    SamplingSettings(top_k=1),
    SamplingSettings(top_k=40),
    SamplingSettings(top_k=5000),
    SamplingSettings(top_p=0.5),
    SamplingSettings(top_p=0.99),
    SamplingSettings(top_p=1e-9),
    SamplingSettings(min_p=0.1),
    SamplingSettings(min_p=1.0),
    SamplingSettings(temperature=0.7, top_k=50, top_p=0.8, min_p=0.05),
    SamplingSettings(temperature=2.5, top_p=0.9),
    SamplingSettings(temperature=1.2, top_p=0.5, temperature_last=True),
]


def logits_like(kind: str, size: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    width = {"flat": 0.01, "usual": 3.0, "sharp": 30.0}[kind]
    return (random.standard_normal(size) * width).astype(np.float32)


@pytest.mark.parametrize("kind", ["flat", "usual", "sharp"])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_same_tokens_stay_in_the_running(kind: str, settings: SamplingSettings) -> None:
    for seed in range(5):
        logits = logits_like(kind, 4000, seed)
        pair: samplers.Candidates = (torch.from_numpy(logits), None)
        for step in samplers.filters(settings):
            pair = step(pair)
        expected = range(len(logits)) if pair[1] is None else pair[1].tolist()
        ids, values = candidates(logits, settings)
        # Sums of thousands of shares round differently; a token at the very border may differ.
        assert len(set(expected) ^ set(ids.tolist())) <= (1 if settings.top_p < 1 else 0)
        assert np.allclose(values, logits[ids] / np.float32(settings.temperature))


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(greedy=True, repetition_penalty=1.3),
        SamplingSettings(greedy=True, presence_penalty=0.5, frequency_penalty=0.2),
        SamplingSettings(greedy=True, frequency_penalty=0.4, penalty_decay=0.9),
        SamplingSettings(greedy=True, no_repeat_ngram_size=1),
        SamplingSettings(greedy=True, no_repeat_ngram_size=3),
        SamplingSettings(temperature=0.0, repetition_penalty=0.8, no_repeat_ngram_size=2),
    ],
    ids=str,
)
def test_penalties_lead_to_the_same_tokens(settings: SamplingSettings) -> None:
    prompt = [1, 2, 3, 1, 2]
    ours = Sampler(settings, prompt, 0)
    theirs = samplers.Sampler(settings, prompt, 0)
    for step in range(60):
        # Few tokens and little between them, so that penalties decide.
        logits = logits_like("usual", 20, step % 3)
        before = logits.copy()
        expected = theirs(torch.from_numpy(logits.copy()))
        assert ours.choose(logits) == expected
        assert (logits == before).all()
    assert penalties(settings, prompt)


def test_draws_follow_the_probabilities() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    sampler = Sampler(SamplingSettings(), [], 7)
    counts = np.bincount([sampler.choose(logits) for _ in range(4000)], minlength=4) / 4000
    assert np.abs(counts - np.exp(logits)).max() < 0.03
    even = Sampler(SamplingSettings(uniform_top_k=True, top_k=3), [], 7)
    counts = np.bincount([even.choose(logits) for _ in range(3000)], minlength=4) / 3000
    assert counts[3] == 0 and np.abs(counts[:3] - 1 / 3).max() < 0.04


def test_a_seed_repeats_and_another_does_not() -> None:
    logits = logits_like("flat", 1000, 0)

    def draw(seed: int) -> list[int]:
        sampler = Sampler(SamplingSettings(top_p=0.9), [], seed)
        return [sampler.choose(logits) for _ in range(20)]

    assert draw(1) == draw(1) != draw(2)
    assert draw(2**64 - 1) == draw(2**64 - 1)


def test_all_tokens_banned_but_one() -> None:
    logits = np.zeros(3, np.float32)
    sampler = Sampler(SamplingSettings(no_repeat_ngram_size=1), [0, 2], 1)
    assert sampler.choose(logits) == 1
