"""How the next token is chosen: one function for each setting, put together for a reply.

A step turns candidates into candidates. Candidates are logits ``[n]`` (float32) and token ids
``[n]`` (int64), which ascend; they are None while all tokens of the vocabulary are candidates. The
order and the meaning of the steps are those of transformers: penalties, temperature, top-k, top-p,
min-p.

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
"""The most candidates that are put in order."""
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
    k = reply.settings.top_k or int(reply.settings.uniform_top_k)
    best = _best if reply.last_on_device is None else _best_on_device
    return (lambda candidates: best(candidates, k)) if k > 0 else None


def top_p(reply: ReplySoFar) -> Step | None:
    """Keep the fewest best tokens whose probabilities reach ``p``."""
    p = reply.settings.top_p - _ROUNDING

    def step(candidates: Candidates) -> Candidates:
        return _best(candidates, *_count_reaching(candidates[0].numpy(), p))

    def on_device(candidates: Candidates) -> Candidates:
        ordered, places = candidates[0].sort(descending=True, stable=True)
        shares = ordered.softmax(0).double()
        # A token stays if those before it do not reach the sum.
        kept = ordered.masked_fill(shares.cumsum(0) - shares >= max(p, _ROUNDING), -torch.inf)
        return torch.empty_like(kept).scatter_(0, places, kept), candidates[1]

    if reply.settings.top_p >= 1.0:
        return None
    return step if reply.last_on_device is None else on_device


def min_p(reply: ReplySoFar) -> Step | None:
    """Keep tokens with at least this share of the best one's probability."""
    share = min(reply.settings.min_p, 1.0)

    def step(candidates: Candidates) -> Candidates:
        values = candidates[0].numpy()
        return _at(candidates, np.flatnonzero(values >= values.max() + math.log(share)))

    def on_device(candidates: Candidates) -> Candidates:
        logits, ids = candidates
        return logits.masked_fill(logits < logits.max() + math.log(share), -torch.inf), ids

    if share <= 0.0:
        return None
    return step if reply.last_on_device is None else on_device


def temperature_last(reply: ReplySoFar) -> Step | None:
    """Divide the logits by the temperature after the filters, as ChatRWKV does."""
    return _divide(reply.settings.temperature) if reply.settings.temperature_last else None


def uniform(reply: ReplySoFar) -> Step:
    """Give all tokens that are left and not forbidden the same probability."""
    return lambda candidates: (
        candidates[0].masked_fill(candidates[0] > -torch.inf, 0),
        candidates[1],
    )


FILTERS = (temperature, top_k, top_p, min_p, temperature_last)
"""Applied before a draw, unless it is even among the best."""


def _best(candidates: Candidates, count: int, least: float | None = None) -> Candidates:
    """The ``count`` best; of those that are equally good the first.

    Args:
        least: the last of them, if it is known.
    """
    values = candidates[0].numpy()
    surplus = len(values) - count
    if surplus <= 0:
        return candidates
    if least is None:
        least = np.partition(values, surplus)[surplus]
    places = np.flatnonzero(values >= least)
    if surplus := len(places) - count:
        places = np.delete(places, np.flatnonzero(values[places] == least)[-surplus:])
    return _at(candidates, places)


def _best_on_device(candidates: Candidates, count: int) -> Candidates:
    logits, ids = candidates
    places = logits.topk(min(count, logits.shape[0])).indices.sort().values
    return logits[places], places if ids is None else ids[places]


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


def _at(candidates: Candidates, places: NDArray[np.int64]) -> Candidates:
    # numpy takes several times faster than torch.
    logits = torch.from_numpy(candidates[0].numpy().take(places))
    ids = candidates[1]
    return logits, torch.from_numpy(places if ids is None else ids.numpy().take(places))


def _divide(value: float) -> Step | None:
    if value == 1.0:
        return None

    return lambda candidates: (candidates[0] / value, candidates[1])


def enabled_steps(reply: ReplySoFar) -> list[Step]:
    """The steps of the settings in use, in order."""
    makers: list[Callable[[ReplySoFar], Step | None]] = [*PENALTIES]
    if not reply.settings.is_greedy:
        makers += (top_k, uniform) if reply.settings.uniform_top_k else FILTERS
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
        token = int(self.choose(logits, self.random_number()))
        self._reply.output_ids.append(token)
        return token

    def random_number(self) -> Tensor:
        """What the next draw takes, float64 ``[]``, even in [0, 1)."""
        return torch.rand((), dtype=torch.float64, generator=self._generator)

    def choose(self, logits: Tensor, number: Tensor) -> Tensor:
        """The next token's id, int64 ``[]``; a reply on the device waits for nothing here."""
        candidates: Candidates = (logits, None)
        for step in self._steps:
            candidates = step(candidates)
        kept, ids = candidates
        if not self._reply.settings.is_greedy:
            place = draw(kept, number)
        elif self._reply.last_on_device is None:
            # numpy finds it several times faster than torch.
            place = torch.tensor(kept.numpy().argmax())
        else:
            place = kept.argmax()
        return place if ids is None else ids.take(place)


def draw(logits: Tensor, number: Tensor) -> Tensor:
    """The place whose share of all probability has ``number``, which is even in [0, 1)."""
    reached = torch.softmax(logits, 0).cumsum(0, dtype=torch.float64)
    place = torch.searchsorted(reached, number * reached[-1], right=True)
    # By rounding, the number may lie beyond the last token that has a probability.
    return torch.minimum(place, torch.searchsorted(reached, reached[-1]))
