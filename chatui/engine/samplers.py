"""How the next token is chosen: small functions on logits, put together once for a reply.

Candidates are a pair of tensors, logits ``[n]`` (float32) and token ids ``[n]`` (int64); the ids
are None while all tokens of the vocabulary are still in the running. Each step keeps the order
and the meaning of transformers' logits processors: penalties, temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from chatui.engine.penalties import penalties
from chatui.sampling import SamplingSettings

Candidates: TypeAlias = tuple[Tensor, Tensor | None]
Step: TypeAlias = Callable[[Candidates], Candidates]

_FEW = 256


def temperature(candidates: Candidates, value: float) -> Candidates:
    """Divide the logits by ``value`` > 0."""
    logits, ids = candidates
    return logits / value, ids


def top_k(candidates: Candidates, k: int) -> Candidates:
    """The ``k`` best, best first."""
    logits, ids = candidates
    best, places = torch.topk(logits, min(k, logits.shape[0]))
    return best, places if ids is None else ids[places]


def top_p(candidates: Candidates, p: float) -> Candidates:
    """The smallest set of best tokens whose probabilities reach ``p``, best first.

    Sorts a few hundred at first, and more only where they do not reach ``p``.
    """
    logits, ids = candidates
    total = torch.logsumexp(logits, 0)
    count = min(_FEW, logits.shape[0])
    while True:
        best, places = torch.topk(logits, count)
        before = torch.exp(best - total).cumsum(0)
        # A token stays if those before it have not reached p yet; the best always does.
        kept = 1 + int((before[:-1] < p).sum())
        if kept < count or count == logits.shape[0]:
            break
        count = min(count * 8, logits.shape[0])
    places = places[:kept]
    return best[:kept], places if ids is None else ids[places]


def min_p(candidates: Candidates, share: float) -> Candidates:
    """Tokens with at least ``share`` of the best one's probability."""
    logits, ids = candidates
    kept = torch.nonzero(logits >= logits.max() + math.log(min(share, 1.0))).squeeze(1)
    return logits[kept], kept if ids is None else ids[kept]


def draw(candidates: Candidates, generator: torch.Generator) -> int:
    """One of the candidates, by their probabilities."""
    logits, ids = candidates
    place = int(torch.multinomial(torch.softmax(logits, 0), 1, generator=generator))
    return place if ids is None else int(ids[place])


def draw_evenly(candidates: Candidates, generator: torch.Generator) -> int:
    """One of the candidates, each as likely as the next: GPT-2's sampler in the article."""
    logits, ids = candidates
    place = int(torch.randint(logits.shape[0], (1,), generator=generator, device=generator.device))
    return place if ids is None else int(ids[place])


def best(candidates: Candidates) -> int:
    """The best candidate; the first of equals."""
    logits, ids = candidates
    place = int(logits.argmax())
    return place if ids is None else int(ids[place])


def filters(settings: SamplingSettings) -> list[Step]:
    """The steps that ``settings`` ask for, in order; none that would change nothing."""
    steps: list[Step] = []
    tempered: list[Step] = []
    if settings.temperature != 1.0:
        tempered = [lambda candidates: temperature(candidates, settings.temperature)]
    if not settings.temperature_last:
        steps += tempered
    if settings.top_k > 0:
        steps.append(lambda candidates: top_k(candidates, settings.top_k))
    if settings.top_p < 1.0:
        steps.append(lambda candidates: top_p(candidates, settings.top_p))
    if settings.min_p > 0.0:
        steps.append(lambda candidates: min_p(candidates, settings.min_p))
    if settings.temperature_last:
        steps += tempered
    return steps


class Sampler:
    """Chooses the tokens of one reply, and remembers what penalties need to know of them.

    The generator is the reply's own and lives on the CPU, so that a seed gives the same text
    whatever else runs.

    Args:
        settings: how to choose.
        prompt_ids: tokens of the prompt; penalties on repetition see them.
        seed: of the generator.
        encode, end_ids: see :func:`chatui.engine.penalties.penalties`.
    """

    def __init__(
        self,
        settings: SamplingSettings,
        prompt_ids: Sequence[int],
        seed: int,
        encode: Callable[[str], Sequence[int]] = lambda _: (),
        end_ids: Collection[int] = (),
    ) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._penalties = penalties(settings, prompt_ids, encode, end_ids)
        if settings.is_greedy:
            self._steps: list[Step] = []
            self._choose = best
        elif settings.uniform_top_k:
            k = settings.top_k or 1
            self._steps = [lambda candidates: top_k(candidates, k)]
            self._choose = lambda candidates: draw_evenly(candidates, self._generator)
        else:
            self._steps = filters(settings)
            self._choose = lambda candidates: draw(candidates, self._generator)

    def __call__(self, logits: Tensor) -> int:
        """The next token's id, from logits ``[vocabulary]`` (float32), which stay as they are."""
        for penalty in self._penalties:
            logits = penalty(logits)
        candidates: Candidates = (logits, None)
        for step in self._steps:
            candidates = step(candidates)
        if candidates[0].device.type != "cpu":
            candidates = (
                candidates[0].cpu(),
                None if candidates[1] is None else candidates[1].cpu(),
            )
        token = self._choose(candidates)
        for penalty in self._penalties:
            penalty.saw(token)
        return token
