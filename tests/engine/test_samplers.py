"""The sampler against transformers' own logits processors, on random logits."""

from __future__ import annotations

import itertools
import time
from collections import Counter

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from chatui.engine.penalties import penalties
from chatui.engine.samplers import Sampler, filters
from chatui.sampling import SamplingSettings

VOCABULARY = 3000


def random_logits(seed: int, size: int = VOCABULARY) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3


def transformers_processors(settings: SamplingSettings) -> LogitsProcessorList:
    """In the order of ``GenerationMixin._get_logits_processor``."""
    wanted = LogitsProcessorList()
    if settings.repetition_penalty != 1:
        wanted.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty))
    if settings.no_repeat_ngram_size:
        wanted.append(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
    if settings.temperature != 1:
        wanted.append(TemperatureLogitsWarper(settings.temperature))
    if settings.top_k:
        wanted.append(TopKLogitsWarper(settings.top_k))
    if settings.top_p < 1:
        wanted.append(TopPLogitsWarper(settings.top_p))
    if settings.min_p:
        wanted.append(MinPLogitsWarper(settings.min_p))
    return wanted


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "min_p"),
    itertools.product((0.2, 1.0, 1.7), (0, 1, 40, 99999), (0.0, 0.3, 0.9, 0.999, 1.0), (0.0, 0.1)),
)
def test_filters_keep_what_transformers_keeps(
    temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    settings = SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    for seed in range(3):
        logits = random_logits(seed)
        expected = transformers_processors(settings)(torch.tensor([[1]]), logits[None].clone())[0]
        kept, ids = logits, None
        for step in filters(settings):
            kept, ids = step((kept, ids))
        scores = torch.full_like(logits, -torch.inf)
        scores[torch.arange(VOCABULARY) if ids is None else ids] = kept
        torch.testing.assert_close(scores, expected)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 6])
@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.8])
def test_penalties_on_prompt_and_reply(size: int, penalty: float) -> None:
    settings = SamplingSettings(repetition_penalty=penalty, no_repeat_ngram_size=size)
    prompt = [5, 6, 7, 5, 6, 8, 5, 6]
    reply = [7, 5, 6, 9, 5, 6, 7, 5, 6]
    ours = penalties(settings, prompt)
    for count in range(len(reply) + 1):
        logits = random_logits(count)
        before = logits.clone()
        ids = torch.tensor([prompt + reply[:count]])
        expected = transformers_processors(settings)(ids, logits[None].clone())[0]
        got = logits
        for penalise in ours:
            got = penalise(got)
        torch.testing.assert_close(got, expected)
        assert torch.equal(logits, before)
        if count < len(reply):
            for penalise in ours:
                penalise.saw(reply[count])


def test_presence_and_frequency_decay_as_in_chatrwkv() -> None:
    settings = SamplingSettings(presence_penalty=0.4, frequency_penalty=0.3, penalty_decay=0.9)
    (penalise,) = penalties(settings, [1, 1, 1])
    occurrence: dict[int, float] = {}
    for token in (4, 4, 5, 4, 6):
        logits = random_logits(token)
        expected = logits.clone()
        for n in occurrence:
            expected[n] -= 0.4 + occurrence[n] * 0.3
        torch.testing.assert_close(penalise(logits), expected)
        penalise.saw(token)
        for n in occurrence:
            occurrence[n] *= 0.9
        occurrence[token] = occurrence.get(token, 0) + 1


def test_draws_follow_the_probabilities() -> None:
    settings = SamplingSettings(temperature=0.7, top_k=5)
    logits = random_logits(0) / 3
    sampler = Sampler(settings, [], seed=1)
    drawn = Counter(sampler(logits) for _ in range(20_000))
    best, ids = torch.topk(logits / 0.7, 5)
    for id, share in zip(ids.tolist(), torch.softmax(best, 0).tolist(), strict=True):
        assert drawn[id] / 20_000 == pytest.approx(share, abs=0.015)
    assert set(drawn) == set(ids.tolist())


def test_uniform_top_k_takes_no_notice_of_the_probabilities() -> None:
    sampler = Sampler(SamplingSettings(uniform_top_k=True, top_k=10), [], seed=1)
    logits = random_logits(0)
    drawn = Counter(sampler(logits) for _ in range(20_000))
    assert set(drawn) == set(torch.topk(logits, 10)[1].tolist())
    assert min(drawn.values()) > 1700


@pytest.mark.parametrize(
    "settings", [SamplingSettings(greedy=True), SamplingSettings(temperature=0)]
)
def test_greedy(settings: SamplingSettings) -> None:
    sampler = Sampler(settings, [], seed=1)
    for seed in range(20):
        logits = random_logits(seed)
        assert sampler(logits) == int(logits.argmax())


def test_the_same_seed_draws_the_same_tokens_whatever_else_draws() -> None:
    settings = SamplingSettings(temperature=1.2, top_p=0.95)

    def tokens(seed: int) -> list[int]:
        sampler = Sampler(settings, [], seed)
        return [sampler(random_logits(step)) for step in range(50)]

    first = tokens(7)
    torch.rand(1)
    assert tokens(7) == first
    assert tokens(8) != first


def test_an_all_but_certain_token_survives_every_filter() -> None:
    logits = torch.full((50,), -100.0)
    logits[3] = 100.0
    settings = SamplingSettings(temperature=0.01, top_k=1, top_p=1e-9, min_p=1.0)
    assert Sampler(settings, [], 0)(logits) == 3


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(temperature=0.7, top_k=50, top_p=0.9, repetition_penalty=1.1),
        SamplingSettings(temperature=0.7, top_p=0.9),
    ],
)
def test_a_token_costs_no_full_sort(settings: SamplingSettings) -> None:
    """Against a full sort of the vocabulary, which is what transformers' top-p does."""
    logits = random_logits(0, 150_000)
    sampler = Sampler(settings, [1, 2, 3], seed=0)

    def fastest(action: object) -> float:
        times = []
        for _ in range(15):
            began = time.perf_counter()
            action()  # type: ignore[operator]
            times.append(time.perf_counter() - began)
        return min(times)

    assert fastest(lambda: sampler(logits)) < fastest(lambda: torch.sort(logits))
