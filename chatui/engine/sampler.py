"""Sampling of the next token: one function per setting, combined into the steps of a reply.

A step maps candidates to candidates. Candidates are logits ``[n]`` (float32) and ascending token
ids ``[n]`` (int64); the ids are None if all tokens of the vocabulary are candidates. Order and
meaning of the steps are as in transformers: penalties, temperature, top-k, top-p, min-p.

To add a setting, add a field to :class:`~chatui.sampling.SamplingSettings`, and a function to this
module or ``penalties.py``, listed in ``FILTERS`` or ``PENALTIES``. The function returns the step
for a reply, or None if the setting is off.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from chatui.engine.penalties import PENALTIES, Candidates, ReplySoFar, Step

_ROUNDING = 5e-7
"""Tolerance for sums of probabilities: in float32 0.5 + 0.3 is 0.8000001."""


def temperature(reply: ReplySoFar) -> Step | None:
    """Divide the logits by the temperature before the filters."""
    return None if reply.settings.temperature_last else _divide(reply.settings.temperature)


def top_k(reply: ReplySoFar) -> Step | None:
    """Keep the k most probable tokens."""
    k = reply.settings.top_k or int(reply.settings.uniform_top_k)
    best = _best if reply.last_on_device is None else _best_on_device
    return (lambda candidates: best(candidates, k)) if k > 0 else None


def top_p(reply: ReplySoFar) -> Step | None:
    """Keep the smallest set of the most probable tokens whose probabilities add up to p."""
    p = reply.settings.top_p - _ROUNDING

    def step(candidates: Candidates) -> Candidates:
        # numpy sorts ten times faster than torch.
        ordered = np.sort(candidates[0].numpy())[::-1]
        reached = np.cumsum(np.exp(ordered - ordered[0]), dtype=np.float64)
        # Keep a token if the sum of those before it is below p.
        last = int(np.searchsorted(reached[:-1], p * reached[-1]))
        return _best(candidates, last + 1, ordered[last])

    def on_device(candidates: Candidates) -> Candidates:
        ordered, indices = candidates[0].sort(descending=True, stable=True)
        shares = ordered.softmax(0).double()
        kept = ordered.masked_fill(shares.cumsum(0) - shares >= max(p, _ROUNDING), -torch.inf)
        return torch.empty_like(kept).scatter_(0, indices, kept), candidates[1]

    if reply.settings.top_p >= 1.0:
        return None
    return step if reply.last_on_device is None else on_device


def min_p(reply: ReplySoFar) -> Step | None:
    """Keep tokens with at least this fraction of the highest probability."""
    share = min(reply.settings.min_p, 1.0)

    def step(candidates: Candidates) -> Candidates:
        values = candidates[0].numpy()
        return _select(candidates, np.flatnonzero(values >= values.max() + math.log(share)))

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
    """Give all remaining candidates the same probability."""
    return lambda candidates: (
        candidates[0].masked_fill(candidates[0] > -torch.inf, 0),
        candidates[1],
    )


FILTERS = (temperature, top_k, top_p, min_p, temperature_last)
"""The steps of sampling, in order; ``uniform_top_k`` has its own."""


def _best(candidates: Candidates, count: int, least: float | None = None) -> Candidates:
    """Keep the ``count`` highest logits; of equal ones the first.

    Args:
        least: the lowest of them, if it is known.
    """
    values = candidates[0].numpy()
    surplus = len(values) - count
    if surplus <= 0:
        return candidates
    if least is None:
        least = np.partition(values, surplus)[surplus]
    indices = np.flatnonzero(values >= least)
    if surplus := len(indices) - count:
        indices = np.delete(indices, np.flatnonzero(values[indices] == least)[-surplus:])
    return _select(candidates, indices)


def _best_on_device(candidates: Candidates, count: int) -> Candidates:
    logits, ids = candidates
    indices = logits.topk(min(count, logits.shape[0])).indices.sort().values
    return logits[indices], indices if ids is None else ids[indices]


def _select(candidates: Candidates, indices: NDArray[np.int64]) -> Candidates:
    # numpy's take is several times faster than torch's.
    logits = torch.from_numpy(candidates[0].numpy().take(indices))
    ids = candidates[1]
    return logits, torch.from_numpy(indices if ids is None else ids.numpy().take(indices))


def _divide(value: float) -> Step | None:
    if value == 1.0:
        return None

    return lambda candidates: (candidates[0] / value, candidates[1])


def enabled_steps(reply: ReplySoFar) -> list[Step]:
    """Return the enabled steps, in order."""
    makers: list[Callable[[ReplySoFar], Step | None]] = [*PENALTIES]
    if not reply.settings.is_greedy:
        makers += (top_k, uniform) if reply.settings.uniform_top_k else FILTERS
    return [step for make in makers if (step := make(reply)) is not None]


class Sampler:
    """Chooses the tokens of one reply.

    Each reply has its own random generator, on the CPU, so that a seed gives the same text on all
    devices.

    Args:
        reply: the settings and the tokens that they depend on; chosen tokens are appended to it.
        seed: seed of the random generator.
    """

    def __init__(self, reply: ReplySoFar, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._reply = reply
        self._steps = enabled_steps(reply)

    def __call__(self, logits: Tensor) -> int:
        """Return the id of the next token from logits ``[vocabulary]`` (float32)."""
        token = int(self.choose(logits, self.random_number()))
        self._reply.output_ids.append(token)
        return token

    def random_number(self) -> Tensor:
        """Return a uniform random number in [0, 1), float64 ``[]``."""
        return torch.rand((), dtype=torch.float64, generator=self._generator)

    def choose(self, logits: Tensor, number: Tensor) -> Tensor:
        """Return the id of the next token, int64 ``[]``, without waiting for a GPU."""
        candidates: Candidates = (logits, None)
        for step in self._steps:
            candidates = step(candidates)
        kept, ids = candidates
        if not self._reply.settings.is_greedy:
            index = draw(kept, number)
        elif self._reply.last_on_device is None:
            # numpy's argmax is several times faster than torch's.
            index = torch.tensor(kept.numpy().argmax())
        else:
            index = kept.argmax()
        return index if ids is None else ids.take(index)


def draw(logits: Tensor, number: Tensor) -> Tensor:
    """Draw an index by inverse transform sampling, with a uniform ``number`` in [0, 1)."""
    reached = torch.softmax(logits, 0).cumsum(0, dtype=torch.float64)
    index = torch.searchsorted(reached, number * reached[-1], right=True)
    # Rounding may lead past the last token with a probability above 0.
    return torch.minimum(index, torch.searchsorted(reached, reached[-1]))
