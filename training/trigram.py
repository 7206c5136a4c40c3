"""The baseline: an interpolated Kneser-Ney trigram over token ids (Chen and Goodman 1998)."""

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
DISCOUNT = 0.75


class Counts:
    """Number of occurrences of each integer, 0 if absent."""

    def __init__(self, keys: Ids) -> None:
        self.keys, self.counts = np.unique(keys, return_counts=True)

    def __getitem__(self, keys: Ids) -> NDArray[np.int64]:
        at = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.counts[at], 0)


class Trigram:
    """A model of ``texts``, lists of ids below ``n_ids``; id 0 pads the start."""

    def __init__(self, texts: list[list[int]], n_ids: int) -> None:
        self.n = n_ids
        keys = self.keys(texts)
        seen = np.unique(keys)
        self.trigrams = Counts(keys)
        self.contexts = Counts(keys // self.n)
        self.context_kinds = Counts(seen // self.n)
        self.bigrams = Counts(seen % self.n**2)
        kinds = self.bigrams.keys
        self.middles = Counts(seen % self.n**2 // self.n)
        self.middle_kinds = Counts(kinds // self.n)
        self.unigrams = Counts(kinds % self.n)
        self.n_bigrams = len(kinds)

    def keys(self, texts: list[list[int]]) -> Ids:
        """Return an integer for each trigram of the texts."""
        joined = np.array([i for text in texts for i in (0, 0, *text)], dtype=np.int64)
        keys: Ids = (joined[:-2] * self.n + joined[1:-1]) * self.n + joined[2:]
        kept: Ids = keys[joined[2:] != 0]
        return kept

    def log_probabilities(self, text: list[int]) -> NDArray[np.float64]:
        """Return the natural log of each id's probability given the two ids before it."""
        keys = self.keys([text])
        before, pair, last = keys // self.n, keys % self.n**2, keys % self.n
        single = (self.unigrams[last] + 1) / (self.n_bigrams + self.n)
        double = self.mix(
            self.bigrams[pair],
            self.middles[pair // self.n],
            self.middle_kinds[pair // self.n],
            single,
        )
        return np.log(
            self.mix(self.trigrams[keys], self.contexts[before], self.context_kinds[before], double)
        )

    @staticmethod
    def mix(count: Ids, total: Ids, kinds: Ids, lower: NDArray[np.float64]) -> NDArray[np.float64]:
        """Apply absolute discounting; the discounted mass goes to the lower order."""
        high = np.maximum(count - DISCOUNT, 0) + DISCOUNT * kinds * lower
        return np.where(total > 0, high / np.maximum(total, 1), lower)
