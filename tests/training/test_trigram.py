"""The baseline."""

import numpy as np

from training.trigram import Trigram

TEXTS = [[1, 2, 3, 4], [1, 2, 3, 5], [2, 3, 4]]


def test_probabilities_sum_to_one() -> None:
    model = Trigram(TEXTS, 8)
    for context in ([1, 2], [2, 3], [7, 7]):
        total = sum(np.exp(model.log_probabilities([*context, i])[-1]) for i in range(1, 8))
        assert 0.85 < total <= 1.0 + 1e-9, "id 0 stands before a text and takes the rest"


def test_what_was_seen_is_likelier() -> None:
    model = Trigram(TEXTS, 8)
    assert model.log_probabilities([1, 2, 3])[-1] > model.log_probabilities([1, 2, 4])[-1]
    assert model.log_probabilities([2, 3, 4])[-1] > model.log_probabilities([2, 3, 5])[-1]
