"""The engine's sampling in numpy: llama.cpp's process has no torch.

llama.cpp's own samplers sort the whole vocabulary for top-p (34 ms for Gemma's 262,144 tokens)
and lack some of our settings. The meaning and the order of the steps are those of
:mod:`chatui.engine.samplers`: penalties, temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from chatui.sampling import SamplingSettings

Logits = npt.NDArray[np.float32]
"""``[vocabulary]`` or ``[candidates]``, float32."""

Ids = npt.NDArray[np.intp]
"""``[candidates]``: token ids."""

_FIRST_SPAN = 8.0
"""Candidates are first looked for among logits so much below the best; then twice as far."""


def not_available(settings: SamplingSettings) -> tuple[str, ...]:
    """Names of the settings in use that only the engine knows: ChatRWKV's own."""
    names = ("avoid_repeat", "newline_bias")
    defaults = SamplingSettings()
    return tuple(name for name in names if getattr(settings, name) != getattr(defaults, name))


class Sampler:
    """Chooses the tokens of one reply, and remembers what penalties need to know of them.

    Args:
        settings: how to choose.
        prompt_ids: tokens of the prompt; penalties on repetition see them.
        seed: of the reply's own random numbers.
    """

    def __init__(self, settings: SamplingSettings, prompt_ids: Sequence[int], seed: int) -> None:
        self._settings = settings
        self._random = np.random.default_rng(seed)
        self._greedy = settings.is_greedy
        self._seen = set(prompt_ids) if settings.repetition_penalty != 1 else None
        self._occurrences: dict[int, float] = {}
        self._counts = settings.presence_penalty != 0 or settings.frequency_penalty != 0
        self._ngrams = _Ngrams(settings.no_repeat_ngram_size, prompt_ids)

    def choose(self, logits: Logits) -> int:
        """The next token's id, from logits ``[vocabulary]``, which stay as they are."""
        logits = self._penalised(logits)
        if self._greedy:
            token = int(logits.argmax())
        else:
            ids, values = candidates(logits, self._settings)
            token = int(ids[self._draw(values)])
        self._saw(token)
        return token

    def _draw(self, values: Logits) -> int:
        """The place of one of the candidates, by its probability or evenly."""
        if self._settings.uniform_top_k:
            return int(self._random.integers(len(values)))
        sums = np.exp(values - values.max()).cumsum(dtype=np.float64)
        place = int(np.searchsorted(sums, self._random.random() * sums[-1], side="right"))
        return min(place, len(values) - 1)

    def _penalised(self, logits: Logits) -> Logits:
        settings, banned = self._settings, self._ngrams.banned()
        if not (self._seen or self._occurrences or banned):
            return logits
        logits = logits.copy()
        if self._seen:
            # CTRL (Keskar et al. 2019, 4.1): logits of seen tokens / p if positive, else x p.
            seen = np.fromiter(self._seen, np.intp)
            scores = logits[seen]
            penalty = np.float32(settings.repetition_penalty)
            logits[seen] = np.where(scores < 0, scores * penalty, scores / penalty)
        if self._occurrences:
            ids = np.fromiter(self._occurrences, np.intp)
            counts = np.fromiter(self._occurrences.values(), np.float32)
            logits[ids] -= settings.presence_penalty + settings.frequency_penalty * counts
        if banned:
            logits[banned] = -np.inf
        return logits

    def _saw(self, token: int) -> None:
        if self._seen is not None:
            self._seen.add(token)
        if self._counts:
            decay = self._settings.penalty_decay
            if decay != 1:
                self._occurrences = {id: n * decay for id, n in self._occurrences.items()}
            self._occurrences[token] = self._occurrences.get(token, 0.0) + 1.0
        self._ngrams.saw(token)


def candidates(logits: Logits, settings: SamplingSettings) -> tuple[Ids, Logits]:
    """(ids, logits after temperature) of the tokens that ``settings`` leave in the running."""
    if settings.uniform_top_k:
        best = _best(logits, lambda places: len(places) >= settings.top_k)[: settings.top_k or 1]
        return best, logits[best]
    scaled = logits
    if settings.temperature != 1 and not settings.temperature_last:
        scaled = logits / np.float32(settings.temperature)
    ids: Ids | None = None
    if settings.top_k > 0:
        ids = _best(scaled, lambda places: len(places) >= settings.top_k)[: settings.top_k]
    if settings.top_p < 1:
        total = _log_total(scaled if ids is None else scaled[ids])
        if ids is None:
            # Rounding must not keep the mass of all tokens below a top-p near 1 for ever.
            ids = _best(
                scaled, lambda places: np.exp(scaled[places] - total).sum() > settings.top_p
            )
        shares = np.exp(scaled[ids] - total)
        before = shares.cumsum(dtype=np.float64) - shares
        kept = 1 + int((before[1:] < settings.top_p).sum())
        ids = ids[:kept]
    if ids is None:
        ids = np.arange(len(scaled))
    values = scaled[ids]
    if settings.min_p > 0:
        likely = values >= values.max() + math.log(min(settings.min_p, 1.0))
        ids, values = ids[likely], values[likely]
    if settings.temperature_last:
        values = values / np.float32(settings.temperature)
    return ids, values


def _best(logits: Logits, enough: Callable[[Ids], bool]) -> Ids:
    """Ids of the best tokens, best first, so many that ``enough`` is true (or all).

    Only these are sorted: for a vocabulary of 262,144 that saves most of the time.
    """
    highest, span = logits.max(), _FIRST_SPAN
    while True:
        places = np.flatnonzero(logits >= highest - span)
        if len(places) == len(logits) or span > 1e4 or enough(places):
            break
        span *= 2
    return places[np.argsort(-logits[places], kind="stable")]


def _log_total(logits: Logits) -> float:
    """log Σ exp."""
    highest = float(logits.max())
    return highest + math.log(float(np.exp(logits - highest).sum()))


class _Ngrams:
    """Which tokens would complete an n-gram of prompt and reply a second time."""

    def __init__(self, size: int, prompt_ids: Sequence[int]) -> None:
        self._size = size
        self._followers: dict[tuple[int, ...], list[int]] = {}
        self._last: tuple[int, ...] = ()
        for token in prompt_ids if size > 0 else ():
            self.saw(token)

    def banned(self) -> list[int]:
        if self._size <= 0 or len(self._last) < self._size - 1:
            return []
        return self._followers.get(self._last, [])

    def saw(self, token: int) -> None:
        if self._size <= 0:
            return
        if len(self._last) == self._size - 1:
            self._followers.setdefault(self._last, []).append(token)
        self._last = (*self._last, token)[-(self._size - 1) :] if self._size > 1 else ()
