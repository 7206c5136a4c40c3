"""The sampler against transformers' logits processors and the tables of llama.cpp's own tests."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from typing import Any

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

from chatui.engine.penalties import ReplySoFar
from chatui.engine.sampler import Sampler, enabled_steps
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


def scores_of(reply: ReplySoFar, logits: torch.Tensor) -> torch.Tensor:
    """Apply the enabled steps; return ``[vocabulary]``, with -inf for tokens left out."""
    kept, ids = logits, None
    for step in enabled_steps(reply):
        kept, ids = step((kept, ids))
    scores = torch.full_like(logits, -torch.inf)
    scores[torch.arange(len(logits)) if ids is None else ids] = kept
    return scores


def test_filters_match_transformers() -> None:
    values = itertools.product(
        (0.2, 1.0, 1.7), (0, 1, 40, 99999), (1e-9, 0.3, 0.9, 0.999, 1.0), (0.0, 0.1)
    )
    for seed, (temperature, top_k, top_p, min_p) in enumerate(values):
        settings = SamplingSettings(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
        logits = random_logits(seed)
        expected = transformers_processors(settings)(torch.tensor([[1]]), logits[None].clone())[0]
        found = scores_of(ReplySoFar(settings, ()), logits)
        differs = (found > -torch.inf) != (expected > -torch.inf)
        # Rounding can put a sum of hundreds of probabilities on either side of p.
        assert int(differs.sum()) <= (0.9 < top_p < 1)
        torch.testing.assert_close(found[~differs], expected[~differs])


FOUR = (0.1, 0.2, 0.3, 0.4)


@pytest.mark.parametrize(
    ("settings", "probabilities", "expected"),
    [
        ({}, FOUR, FOUR),
        ({"top_k": 1}, FOUR, (0, 0, 0, 1)),
        ({"top_k": 3}, FOUR, (0, 0.22222, 0.33333, 0.44444)),
        ({"top_k": 4}, FOUR, FOUR),
        ({"top_p": 1e-9}, FOUR, (0, 0, 0, 1)),
        ({"top_p": 0.7}, FOUR, (0, 0, 0.428571, 0.571429)),
        ({"top_p": 0.8}, FOUR, (0, 0.22222, 0.33333, 0.44444)),
        ({"top_p": 0.8}, (0.3, 0.1, 0.1, 0.5), (0.375, 0, 0, 0.625)),
        ({"top_p": 0.8}, (0.1, 0.1, 0.5, 0.3), (0, 0, 0.625, 0.375)),
        ({"top_p": 1.0}, FOUR, FOUR),
        # transformers: tests/generation/test_logits_process.py
        ({"top_p": 0.8}, (0.15, 0.3, 0.3, 0.25), (0, 0.3 / 0.85, 0.3 / 0.85, 0.25 / 0.85)),
        ({"min_p": 0.24}, FOUR, FOUR),
        ({"min_p": 0.26}, FOUR, (0, 0.2 / 0.9, 0.3 / 0.9, 0.4 / 0.9)),
        ({"min_p": 0.49}, FOUR, (0, 0.2 / 0.9, 0.3 / 0.9, 0.4 / 0.9)),
        ({"min_p": 0.51}, FOUR, (0, 0, 0.3 / 0.7, 0.4 / 0.7)),
        ({"min_p": 0.74}, FOUR, (0, 0, 0.3 / 0.7, 0.4 / 0.7)),
        ({"min_p": 0.76}, FOUR, (0, 0, 0, 1)),
        ({"min_p": 1.0}, FOUR, (0, 0, 0, 1)),
    ],
)
def test_filters_match_the_tables_of_llama_cpp(
    settings: dict[str, Any], probabilities: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    """tests/test-sampling.cpp: test_temp, test_top_k, test_top_p, test_min_p."""
    scores = scores_of(
        ReplySoFar(SamplingSettings(**settings), ()), torch.tensor(probabilities).log()
    )
    torch.testing.assert_close(
        torch.softmax(scores, 0), torch.tensor(expected).float(), atol=1e-5, rtol=0
    )


def test_top_p_with_sums_equal_to_p() -> None:
    """For any order of tokens, offset of the logits and rounding of the sum."""
    for parts in ((10, 7, 2, 1), (8, 5, 4, 2, 1), (4, 4, 4, 4, 4), (12, 3, 3, 2)):
        for count in range(1, len(parts)):
            p = sum(sorted(parts, reverse=True)[:count]) / sum(parts)
            for order, level in itertools.product(itertools.permutations(parts), (0.0, 7.3)):
                logits = torch.tensor(order).div(sum(parts)).log() + level
                scores = scores_of(ReplySoFar(SamplingSettings(top_p=p), ()), logits)
                assert int((scores > -torch.inf).sum()) == count


@pytest.mark.parametrize("name", ["k", "p", "m", "kp", "pk", "pm", "kpm"])
def test_combined_filters_match_llama_cpp(name: str) -> None:
    """tests/test-sampling.cpp, test_sampler_queue: logits log(id), for exact sums."""
    size = 10_000
    logits = torch.arange(size, dtype=torch.float32).log()
    values = {"k": {"top_k": 100}, "p": {"top_p": 0.8}, "m": {"min_p": 0.9}}
    settings = SamplingSettings(**{key: value for n in name for key, value in values[n].items()})
    least = 0
    for step in "kpm":
        if step in name and step == "k":
            least = size - 100
        elif step in name and step == "p":
            target = math.ceil(0.8 * sum(range(least, size)))
            reached, least = 0, size
            while reached < target:
                least -= 1
                reached += least
        elif step in name:
            least = max(least, math.ceil(0.9 * (size - 1)))
    kept = torch.nonzero(scores_of(ReplySoFar(settings, ()), logits) > -torch.inf).squeeze(1)
    assert kept.tolist() == list(range(least, size))


@pytest.mark.parametrize(
    ("output", "settings", "expected"),
    [
        ([0], (50, 0, 0), (0, 0.25, 0.25, 0.25, 0.25)),
        ([0, 1, 2], (50, 0, 0), (0, 0, 0, 0.5, 0.5)),
        ([0, 1, 2, 0, 0], (50, 0, 0), (0, 0, 0, 0.5, 0.5)),
        ([0], (1, 5, 5), (0.000011, 0.249997, 0.249997, 0.249997, 0.249997)),
        ([0, 1, 2], (1, 5, 5), (0.000023, 0.000023, 0.000023, 0.499966, 0.499966)),
        ([0, 1, 2, 0, 0], (1, 5, 5), (0, 0.000023, 0.000023, 0.499977, 0.499977)),
    ],
)
def test_penalties_match_the_tables_of_llama_cpp(
    output: list[int], settings: tuple[float, float, float], expected: tuple[float, ...]
) -> None:
    """tests/test-sampling.cpp: test_penalties."""
    repetition, frequency, presence = settings
    reply = ReplySoFar(
        SamplingSettings(
            repetition_penalty=repetition, frequency_penalty=frequency, presence_penalty=presence
        ),
        (),
    )
    steps = enabled_steps(reply)
    logits = torch.full((5,), 0.2).log()
    for token in (*output, None):
        candidates: Any = (logits, None)
        for step in steps:
            candidates = step(candidates)
        if token is not None:
            reply.output_ids.append(token)
    probabilities = torch.softmax(candidates[0], 0)
    torch.testing.assert_close(probabilities, torch.tensor(expected).float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 6])
@pytest.mark.parametrize("penalty", [1.0, 1.3, 0.8])
def test_penalties_match_transformers(size: int, penalty: float) -> None:
    settings = SamplingSettings(repetition_penalty=penalty, no_repeat_ngram_size=size)
    prompt = [5, 6, 7, 5, 6, 8, 5, 6]
    output = [7, 5, 6, 9, 5, 6, 7, 5, 6]
    reply = ReplySoFar(settings, prompt)
    steps = enabled_steps(reply)
    for count in range(len(output) + 1):
        logits = random_logits(count)
        before = logits.clone()
        ids = torch.tensor([prompt + output[:count]])
        expected = transformers_processors(settings)(ids, logits[None].clone())[0]
        got: Any = (logits, None)
        for step in steps:
            got = step(got)
        torch.testing.assert_close(got[0], expected)
        assert torch.equal(logits, before)
        reply.output_ids.extend(output[count : count + 1])


def test_presence_and_frequency_decay_as_in_chatrwkv() -> None:
    settings = SamplingSettings(presence_penalty=0.4, frequency_penalty=0.3, penalty_decay=0.9)
    reply = ReplySoFar(settings, [1, 1, 1])
    (penalise,) = enabled_steps(reply)
    occurrence: dict[int, float] = {}
    for token in (4, 4, 5, 4, 6):
        logits = random_logits(token)
        expected = logits.clone()
        for n in occurrence:
            expected[n] -= 0.4 + occurrence[n] * 0.3
        torch.testing.assert_close(penalise((logits, None))[0], expected)
        reply.output_ids.append(token)
        for n in occurrence:
            occurrence[n] *= 0.9
        occurrence[token] = occurrence.get(token, 0) + 1


def test_avoid_repeat_with_a_tokenizer_that_adds_bos() -> None:
    """LLaMA's tokenizer puts BOS before every text."""
    settings = SamplingSettings(greedy=True, avoid_repeat="，")
    encode = {"": [1], "，": [1, 9]}.__getitem__
    logits = torch.zeros(20)
    logits[9], logits[4] = 2, 1
    sampler = Sampler(ReplySoFar(settings, [1], encode), 0)
    assert [sampler(logits) for _ in range(4)] == [9, 4, 9, 4]


def test_draws_follow_the_probabilities() -> None:
    settings = SamplingSettings(temperature=0.7, top_k=5)
    logits = random_logits(0) / 3
    sampler = Sampler(ReplySoFar(settings, []), seed=1)
    drawn = Counter(sampler(logits) for _ in range(4000))
    best, ids = torch.topk(logits / 0.7, 5)
    for id, share in zip(ids.tolist(), torch.softmax(best, 0).tolist(), strict=True):
        assert drawn[id] / 4000 == pytest.approx(share, abs=0.025)
    assert set(drawn) == set(ids.tolist())


def test_uniform_top_k_ignores_the_probabilities() -> None:
    sampler = Sampler(ReplySoFar(SamplingSettings(uniform_top_k=True, top_k=10), []), seed=1)
    logits = random_logits(0)
    drawn = Counter(sampler(logits) for _ in range(4000))
    assert set(drawn) == set(torch.topk(logits, 10)[1].tolist())
    assert min(drawn.values()) > 320


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(greedy=True),
        SamplingSettings(temperature=0),
        SamplingSettings(temperature=1e-5),
    ],
)
def test_greedy(settings: SamplingSettings) -> None:
    sampler = Sampler(ReplySoFar(settings, []), seed=1)
    for seed in range(20):
        logits = random_logits(seed)
        assert sampler(logits) == int(logits.argmax())


def test_a_seed_draws_the_same_tokens() -> None:
    settings = SamplingSettings(temperature=1.2, top_p=0.95)

    def tokens(seed: int) -> list[int]:
        sampler = Sampler(ReplySoFar(settings, []), seed)
        return [sampler(random_logits(step)) for step in range(50)]

    first = tokens(7)
    torch.rand(1)
    assert tokens(7) == first
    assert tokens(8) != first


def test_the_most_probable_token_passes_every_filter() -> None:
    logits = torch.full((50,), -100.0)
    logits[3] = 100.0
    settings = SamplingSettings(temperature=0.01, top_k=1, top_p=1e-9, min_p=1.0)
    assert Sampler(ReplySoFar(settings, []), 0)(logits) == 3


LARGE = 30_000


@pytest.mark.parametrize("name", ["random", "flat", "equal", "forbidden", "wide"])
@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 1.5, "top_p": 0.95},
        {"top_p": 0.999},
        {"top_p": 0.3},
        {"top_k": 20_000, "top_p": 0.9},
        {"top_k": 5000},
        {"top_k": 60},
    ],
)
def test_filters_match_transformers_on_a_large_vocabulary(
    name: str, values: dict[str, Any]
) -> None:
    logits = random_logits(3, LARGE)
    logits = {
        "random": logits,
        "flat": logits / 1000,
        "equal": torch.zeros(LARGE),
        "forbidden": logits.masked_fill(logits < 0, -torch.inf),
        "wide": logits * 30,
    }[name]
    settings = SamplingSettings(**values)
    # transformers' top-k keeps all equal tokens; a small slope makes them differ.
    slope = torch.linspace(0, 1e-4, LARGE) if name == "equal" else 0
    expected = transformers_processors(settings)(torch.tensor([[1]]), (logits + slope)[None])[0]
    found = scores_of(ReplySoFar(settings, ()), logits)
    kept, as_many = (int((scores > -torch.inf).sum()) for scores in (found, expected))
    # transformers' float32 sums of thousands of probabilities are less exact.
    assert abs(kept - as_many) <= 2e-3 * as_many
    assert found[found > -torch.inf].min() >= found.new_tensor(
        sorted((logits / settings.temperature).tolist())[-kept]
    )


@pytest.mark.parametrize("size", [20_000, 300])
def test_draws_from_a_large_vocabulary_follow_the_probabilities(size: int) -> None:
    """Compare ten groups of tokens; forbidden tokens are never drawn."""
    weights = torch.rand(size, generator=torch.Generator().manual_seed(5))
    weights[-7:] = weights[:5] = weights[1000:2000] = 0
    sampler = Sampler(ReplySoFar(SamplingSettings(), []), seed=3)
    drawn = [sampler(weights.log()) for _ in range(5000)]
    assert weights[drawn].min() > 0
    groups = torch.bincount(torch.tensor(drawn) * 10 // size, minlength=10) / len(drawn)
    expected = weights.view(10, -1).sum(1) / weights.sum()
    torch.testing.assert_close(groups, expected, atol=0.025, rtol=0)


@pytest.mark.parametrize(
    "settings",
    [
        SamplingSettings(temperature=0.7, top_k=50, top_p=0.9, repetition_penalty=1.1),
        SamplingSettings(temperature=0.7, top_p=0.9),
        SamplingSettings(temperature=1.5, top_p=0.95),
        SamplingSettings(temperature=100, top_p=0.95, min_p=0.01),
        SamplingSettings(temperature=100),
    ],
)
def test_sampling_is_faster_than_a_full_sort(settings: SamplingSettings) -> None:
    """transformers' top-p sorts the whole vocabulary."""
    logits = random_logits(0, 150_000)
    sampler = Sampler(ReplySoFar(settings, [1, 2, 3]), seed=0)

    def fastest(action: object) -> float:
        times = []
        for _ in range(7):
            began = time.thread_time()
            action()  # type: ignore[operator]
            times.append(time.thread_time() - began)
        return min(times)

    assert fastest(lambda: sampler(logits)) < fastest(lambda: torch.sort(logits))
