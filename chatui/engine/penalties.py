"""What makes a token less likely for having been there before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from chatui.sampling import SamplingSettings


class Penalty(Protocol):
    """A change of the logits that depends on the tokens so far."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits ``[vocabulary]`` with the penalty taken off, in a new tensor."""
        ...

    def saw(self, token: int) -> None:
        """``token`` was chosen."""
        ...


class Repetition:
    """CTRL's penalty (Keskar et al. 2019, 4.1): logits of seen tokens / p if positive, else x p."""

    def __init__(self, penalty: float, prompt_ids: Sequence[int]) -> None:
        self._penalty = penalty
        self._new = list(prompt_ids)
        self._seen = torch.empty(0, dtype=torch.int64)

    def __call__(self, logits: Tensor) -> Tensor:
        if self._new:
            fresh = torch.tensor(self._new)
            self._seen = torch.unique(torch.cat([self._seen.cpu(), fresh])).to(logits.device)
            self._new = []
        scores = logits[self._seen]
        scores = torch.where(scores < 0, scores * self._penalty, scores / self._penalty)
        return logits.index_put((self._seen,), scores)

    def saw(self, token: int) -> None:
        self._new.append(token)


class Occurrence:
    """Presence and frequency penalty on the tokens of the reply, with ChatRWKV's decay.

    ChatRWKV (v2/chat.py): ``out[n] -= presence + occurrence[n] * frequency``; after each token all
    counts are multiplied by the decay, then the token's is raised by one.
    """

    def __init__(self, presence: float, frequency: float, decay: float) -> None:
        self._presence = presence
        self._frequency = frequency
        self._decay = decay
        self._counts: dict[int, float] = {}

    def __call__(self, logits: Tensor) -> Tensor:
        if not self._counts:
            return logits
        ids = torch.tensor(list(self._counts), device=logits.device)
        counts = torch.tensor(list(self._counts.values()), device=logits.device)
        return logits.index_put((ids,), logits[ids] - self._presence - self._frequency * counts)

    def saw(self, token: int) -> None:
        if self._decay != 1.0:
            self._counts = {id: count * self._decay for id, count in self._counts.items()}
        self._counts[token] = self._counts.get(token, 0.0) + 1.0


class NoRepeatNgram:
    """Forbids each token that would complete an n-gram of prompt and reply a second time."""

    def __init__(self, size: int, prompt_ids: Sequence[int]) -> None:
        self._size = size
        self._followers: dict[tuple[int, ...], list[int]] = {}
        self._last: tuple[int, ...] = ()
        for token in prompt_ids:
            self.saw(token)

    def __call__(self, logits: Tensor) -> Tensor:
        banned = self._followers.get(self._last) if len(self._last) == self._size - 1 else None
        if not banned:
            return logits
        return logits.index_fill(0, torch.tensor(banned, device=logits.device), -torch.inf)

    def saw(self, token: int) -> None:
        if len(self._last) == self._size - 1:
            self._followers.setdefault(self._last, []).append(token)
        self._last = (*self._last, token)[-(self._size - 1) :] if self._size > 1 else ()


def penalties(settings: SamplingSettings, prompt_ids: Sequence[int]) -> list[Penalty]:
    """The penalties that ``settings`` ask for, in transformers' order; none that change nothing."""
    wanted: list[Penalty] = []
    if settings.repetition_penalty != 1.0:
        wanted.append(Repetition(settings.repetition_penalty, prompt_ids))
    if settings.presence_penalty != 0.0 or settings.frequency_penalty != 0.0:
        wanted.append(
            Occurrence(
                settings.presence_penalty, settings.frequency_penalty, settings.penalty_decay
            )
        )
    if settings.no_repeat_ngram_size > 0:
        wanted.append(NoRepeatNgram(settings.no_repeat_ngram_size, prompt_ids))
    return wanted
