"""How the next token is chosen: one function for each setting, put together for a reply.

A step turns candidates into candidates. Candidates are logits ``[n]`` (float32) and token ids
``[n]`` (int64); the ids are None while all tokens of the vocabulary are candidates. The order and
the meaning of the steps are those of transformers: penalties, temperature, top-k, top-p, min-p.

A new setting is a field of :class:`~chatui.sampling.SamplingSettings` and a function here or in
``penalties.py``, which returns the setting's step for a reply, or None if the setting is off; it
goes into ``FILTERS`` or ``PENALTIES``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatui.engine.penalties import PENALTIES, Candidates, ReplySoFar, Step

_SORTED = 4096
"""The most candidates that are put in order; more stay in the order of their ids."""
_DRAWN_AT_ONCE = 16384
"""The most candidates that torch draws from: it makes a random number for each."""
_BINS = 1024
_PART = 256
_DEPTH = 30.0
"""Tokens so far below the best have, all of a vocabulary together, less than _ROUNDING."""
_ROUNDING = 5e-7
"""Sums of probabilities that differ by less are equal: float32 adds 0.5 and 0.3 to 0.8000001."""


def temperature(reply: ReplySoFar) -> Step | None:
    """Divide the logits by the temperature before the filters."""
    return None if reply.settings.temperature_last else _divide(reply.settings.temperature)


def top_k(reply: ReplySoFar) -> Step | None:
    """Keep the k best."""
    k = reply.settings.top_k
    return (lambda candidates: _best(candidates, k)) if k > 0 else None


def top_p(reply: ReplySoFar) -> Step | None:
    """Keep the fewest best tokens whose probabilities reach ``p``."""
    p = reply.settings.top_p - _ROUNDING

    def step(candidates: Candidates) -> Candidates:
        values = candidates[0].cpu().numpy()
        return _best(candidates, *_count_reaching(values, p))

    return step if reply.settings.top_p < 1.0 else None


def min_p(reply: ReplySoFar) -> Step | None:
    """Keep tokens with at least this share of the best one's probability."""
    share = min(reply.settings.min_p, 1.0)

    def step(candidates: Candidates) -> Candidates:
        least = candidates[0].max() + math.log(share)
        return _at(candidates, _places_at_least(candidates[0], least))

    return step if share > 0.0 else None


def temperature_last(reply: ReplySoFar) -> Step | None:
    """Divide the logits by the temperature after the filters, as ChatRWKV does."""
    return _divide(reply.settings.temperature) if reply.settings.temperature_last else None


FILTERS = (temperature, top_k, top_p, min_p, temperature_last)
"""Applied before a draw."""


def _best(candidates: Candidates, count: int, least: float | None = None) -> Candidates:
    """The ``count`` best, best first if they are not too many to sort; none that is forbidden.

    Args:
        least: the last of them, if it is known.
    """
    logits = candidates[0]
    size = logits.shape[0]
    if count >= size and size > _SORTED:
        return candidates
    if logits.device.type != "cpu" or size <= _SORTED:
        return _at(candidates, torch.topk(logits, min(count, size)).indices)
    values = logits.numpy()
    if np.count_nonzero(values > -np.inf) <= count:
        places = np.flatnonzero(values > -np.inf)
    else:
        if least is None:
            least = np.partition(values, size - count)[size - count]
        better = np.flatnonzero(values > least)
        # Of those that are equally good, the first.
        equal = np.flatnonzero(values == least)[: count - len(better)]
        places = np.concatenate((better, equal))
    if len(places) <= _SORTED:
        places = places[np.argsort(-values[places], kind="stable")]
    return _at(candidates, torch.from_numpy(places))


def _count_reaching(values: NDArray[np.float32], share: float) -> tuple[int, float]:
    """How many of the best logits have this share of all probability, and the last of them.

    At least one. Counts what lies in each of some bins of equal width, then in those of the bin in
    which the share is reached, until few are left to be sorted.
    """
    depths = values.max() - values
    if not depths.max() < _DEPTH:
        values = values[np.flatnonzero(depths < _DEPTH)]
        depths = values.max() - values
    weights = np.exp(-depths)
    wanted = share * float(weights.sum(dtype=np.float64))
    count = 0
    while len(depths) > _SORTED and (width := depths.max() - (nearest := depths.min())) > 0:
        bins = ((depths - nearest) * (_BINS / width)).astype(np.int64)
        sums = np.cumsum(np.bincount(bins, weights, _BINS + 1))
        place = min(int(np.searchsorted(sums, wanted)), _BINS)
        inside = np.flatnonzero(bins == place)
        if len(inside) in (0, len(depths)):
            break
        count += int(np.count_nonzero(bins < place))
        wanted -= sums[place - 1] if place else 0.0
        values, depths, weights = values[inside], depths[inside], weights[inside]
    order = np.argsort(depths)
    # A token stays if those before it do not reach the sum.
    reached = np.cumsum(weights[order], dtype=np.float64)[:-1]
    last = int(np.count_nonzero(reached < wanted))
    return count + last + 1, float(values[order[last]])


def _at(candidates: Candidates, places: Tensor) -> Candidates:
    logits, ids = candidates
    kept = places if ids is None else _taken(ids, places)
    return _taken(logits, places), kept


def _taken(values: Tensor, places: Tensor) -> Tensor:
    if values.device.type == "cpu":
        # numpy takes several times faster than torch.
        return torch.from_numpy(values.numpy().take(places.numpy()))
    return values[places.to(values.device)]


def _places_at_least(logits: Tensor, least: Tensor) -> Tensor:
    if logits.device.type == "cpu":
        # numpy compares and searches several times faster than torch.
        return torch.from_numpy(np.flatnonzero(logits.numpy() >= least.item()))
    return torch.nonzero(logits >= least).squeeze(1)


def _argmax(logits: Tensor) -> Tensor:
    if logits.device.type == "cpu":
        return torch.tensor(logits.numpy().argmax())
    return logits.argmax()


def _divide(value: float) -> Step | None:
    if value == 1.0:
        return None

    return lambda candidates: (candidates[0] / value, candidates[1])


def enabled_steps(reply: ReplySoFar) -> list[Step]:
    """The steps of the settings in use, in order."""
    settings = reply.settings
    makers: list[Callable[[ReplySoFar], Step | None]] = [*PENALTIES]
    if settings.uniform_top_k and not settings.is_greedy:
        k = settings.top_k or 1
        makers.append(lambda _: lambda candidates: _best(candidates, k))
    elif not settings.is_greedy:
        makers += FILTERS
    return [step for make in makers if (step := make(reply)) is not None]


class Sampler:
    """Chooses the tokens of one reply.

    The random generator is the reply's own and lives on the CPU: a seed gives the same text
    whatever else runs.

    Args:
        reply: the settings and the tokens that they depend on; its output grows.
        seed: of the generator.
    """

    def __init__(self, reply: ReplySoFar, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._reply = reply
        self._steps = enabled_steps(reply)

    def __call__(self, logits: Tensor) -> int:
        """The next token's id, from logits ``[vocabulary]`` (float32), which stay as they are."""
        candidates: Candidates = (logits, None)
        for step in self._steps:
            candidates = step(candidates)
        logits, ids = candidates
        if self._reply.settings.is_greedy:
            place = _argmax(logits)
        elif self._reply.settings.uniform_top_k:
            place = torch.randint(logits.shape[0], (), generator=self._generator)
        else:
            place = self._draw(torch.softmax(logits.cpu(), 0))
        token = int(place if ids is None else ids[place])
        self._reply.output_ids.append(token)
        return token

    def _draw(self, probabilities: Tensor) -> Tensor:
        """A place, by its probability; of very many by a single random number."""
        size = probabilities.shape[0]
        if size <= _DRAWN_AT_ONCE:
            return torch.multinomial(probabilities, 1, generator=self._generator)[0]
        values = probabilities.numpy()
        starts = np.arange(0, size, _PART)
        sums = np.cumsum(np.add.reduceat(values, starts, dtype=np.float64))
        drawn = float(torch.rand((), dtype=torch.float64, generator=self._generator)) * sums[-1]
        part = int(np.searchsorted(sums, drawn, side="right"))
        before = sums[part - 1] if part else 0.0
        inner = np.cumsum(values[starts[part] : starts[part] + _PART], dtype=np.float64)
        place = int(np.searchsorted(inner, drawn - before, side="right"))
        # By rounding, the number may lie beyond the last token that has a probability.
        return torch.tensor(starts[part] + min(place, int(np.searchsorted(inner, inner[-1]))))
