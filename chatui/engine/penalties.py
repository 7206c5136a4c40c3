"""What makes a token less likely for having been there before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
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


class NotTwice:
    """Forbids some tokens right after themselves: ChatRWKV's AVOID_REPEAT (v2/chat.py, run_rnn)."""

    def __init__(self, ids: Collection[int], last: int | None) -> None:
        self._ids = ids
        self._last = last

    def __call__(self, logits: Tensor) -> Tensor:
        if self._last is None or self._last not in self._ids:
            return logits
        return logits.index_fill(0, torch.tensor([self._last], device=logits.device), -torch.inf)

    def saw(self, token: int) -> None:
        self._last = token


class NewlineBias:
    """ChatRWKV's way to end a chat reply (v2/chat.py, on_message).

    The newline is forbidden as the first two tokens, unlikely up to CHAT_LEN_SHORT and ever
    likelier after CHAT_LEN_LONG; end tokens are forbidden.
    """

    _SHORT, _LONG, _MOST = 40, 150, 3.0

    def __init__(self, newline: int, end_ids: Collection[int]) -> None:
        self._newline = newline
        self._ends = sorted(end_ids)
        self._count = 0

    def __call__(self, logits: Tensor) -> Tensor:
        ends = torch.tensor(self._ends, dtype=torch.int64, device=logits.device)
        changed = logits.index_fill(0, ends, -torch.inf)
        changed[self._newline] += self._bias(self._count - 1)
        return changed

    def _bias(self, read: int) -> float:
        """For the token after the reply's token number ``read``, from 0."""
        if read <= 0:
            return -torch.inf
        if read <= self._SHORT:
            return (read - self._SHORT) / 10
        return min(self._MOST, max(0, read - self._LONG) * 0.25)

    def saw(self, token: int) -> None:
        self._count += 1


def penalties(
    settings: SamplingSettings,
    prompt_ids: Sequence[int],
    encode: Callable[[str], Sequence[int]] = lambda _: (),
    end_ids: Collection[int] = (),
) -> list[Penalty]:
    """The penalties that ``settings`` ask for, in transformers' order; none that change nothing.

    Args:
        settings: what is asked for.
        prompt_ids: tokens of the prompt.
        encode: the model's tokenizer, for settings that name characters.
        end_ids: tokens that end a reply.
    """
    wanted: list[Penalty] = []
    if settings.newline_bias and len(newline := encode("\n")) == 1:
        wanted.append(NewlineBias(newline[0], end_ids))
    if settings.avoid_repeat:
        single = {ids[0] for one in settings.avoid_repeat if len(ids := encode(one)) == 1}
        wanted.append(NotTwice(single, prompt_ids[-1] if prompt_ids else None))
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
