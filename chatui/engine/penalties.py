"""Sampling steps that depend on earlier tokens: penalties and forbidden tokens.

For steps and candidates, and how to add a setting, see :mod:`chatui.engine.sampler`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from chatui.sampling import SamplingSettings

Candidates: TypeAlias = "tuple[Tensor, Tensor | None]"
Step: TypeAlias = Callable[[Candidates], Candidates]


@dataclass
class ReplySoFar:
    """The settings and tokens that a step depends on.

    Attributes:
        settings: the sampling settings.
        prompt_ids: tokens of the prompt.
        encode: the model's tokenizer, for settings that name characters.
        eos_ids: tokens that end a reply.
        output_ids: tokens of the reply, including the beginning of a continued one.
        last_on_device: the last token, int64 ``[1]``, if tokens are chosen on the device; the host
            may not have it in ``output_ids`` yet.
    """

    settings: SamplingSettings
    prompt_ids: Sequence[int]
    encode: Callable[[str], Sequence[int]] = lambda _: ()
    eos_ids: Collection[int] = ()
    output_ids: list[int] = field(default_factory=list)
    last_on_device: Tensor | None = None

    def last(self) -> Tensor:
        """Return the reply's last token, int64 ``[1]``; shape ``[0]`` if there is none."""
        if self.last_on_device is not None:
            return self.last_on_device
        return torch.tensor(self.output_ids[-1:], dtype=torch.int64)

    def single_token(self, text: str) -> int | None:
        """Return the id of ``text`` as one token; None if it is several tokens."""
        ids = self.encode(text)[len(self.encode("")) :]
        return ids[0] if len(ids) == 1 else None


def newline_bias(reply: ReplySoFar) -> Step | None:
    """Steer the length of a reply by the newline that ends it (ChatRWKV, v2/chat.py, on_message).

    The newline is forbidden for the first two tokens, penalised up to CHAT_LEN_SHORT tokens, and
    favoured increasingly after CHAT_LEN_LONG. EOS tokens are forbidden.
    """
    newline = reply.single_token("\n") if reply.settings.newline_bias else None
    if newline is None:
        return None
    short, long, most = 40, 150, 3.0
    eos_ids = torch.tensor(sorted(reply.eos_ids), dtype=torch.int64)

    def step(candidates: Candidates) -> Candidates:
        position = len(reply.output_ids) - 1
        if position <= 0:
            bias = -torch.inf
        elif position <= short:
            bias = (position - short) / 10
        else:
            bias = min(most, max(0, position - long) * 0.25)
        logits = candidates[0].index_fill(0, eos_ids, -torch.inf)
        logits[newline] += bias
        return logits, candidates[1]

    return step


def avoid_repeat(reply: ReplySoFar) -> Step | None:
    """Forbid repeating these tokens directly: ChatRWKV's AVOID_REPEAT (v2/chat.py, run_rnn)."""
    ids = {reply.single_token(character) for character in reply.settings.avoid_repeat}

    def step(candidates: Candidates) -> Candidates:
        last = (*reply.prompt_ids[-1:], *reply.output_ids[-1:])[-1:]
        return _forbid(candidates, last) if ids.issuperset(last) else candidates

    return step if ids else None


def repetition_penalty(reply: ReplySoFar) -> Step | None:
    """Divide positive logits of seen tokens by p, multiply negative ones (Keskar et al. 2019)."""
    penalty = reply.settings.repetition_penalty
    if penalty == 1.0:
        return None
    factors: Tensor | None = None
    # The penalised logit is the lower of the product and the quotient; the higher for p < 1.
    lower = torch.minimum if penalty > 1.0 else torch.maximum

    def step(candidates: Candidates) -> Candidates:
        nonlocal factors
        logits, last = candidates[0], reply.last()
        if factors is None:
            factors = torch.ones_like(logits)
            factors[[*reply.prompt_ids, *reply.output_ids]] = penalty
        factors.index_fill_(0, last, penalty)
        return lower(logits * factors, logits / factors), None

    return step


def presence_and_frequency_penalty(reply: ReplySoFar) -> Step | None:
    """Penalise the tokens of the reply, with ChatRWKV's decay.

    ChatRWKV (v2/chat.py): ``out[n] -= presence + occurrence[n] * frequency``; after each token all
    counts are multiplied by the decay, and the token's count is increased by one.
    """
    presence, frequency = reply.settings.presence_penalty, reply.settings.frequency_penalty
    decay = reply.settings.penalty_decay
    seen: Tensor | None = None
    occurrence: Tensor | None = None

    def step(candidates: Candidates) -> Candidates:
        nonlocal seen, occurrence
        logits, last = candidates[0], reply.last()
        if seen is None or occurrence is None:
            before = torch.tensor(reply.output_ids[:-1], dtype=torch.int64, device=logits.device)
            ages = torch.arange(len(before), device=logits.device).flip(0)
            seen = torch.zeros_like(logits).index_fill_(0, before, 1)
            occurrence = torch.zeros_like(logits).index_add_(0, before, float(decay) ** ages)
        seen.index_fill_(0, last, 1)
        occurrence.mul_(decay).index_add_(0, last, torch.ones_like(last, dtype=logits.dtype))
        return logits - presence * seen - frequency * occurrence, None

    return step if presence or frequency else None


def no_repeat_ngram_size(reply: ReplySoFar) -> Step | None:
    """Forbid tokens that would repeat an n-gram of prompt or reply."""
    size = reply.settings.no_repeat_ngram_size
    if size <= 0:
        return None
    followers: dict[tuple[int, ...], list[int]] = {}
    last: tuple[int, ...] = ()

    def read(token: int) -> None:
        nonlocal last
        if len(last) == size - 1:
            followers.setdefault(last, []).append(token)
        last = (*last, token)[-(size - 1) :] if size > 1 else ()

    for token in (*reply.prompt_ids, *reply.output_ids[:-1]):
        read(token)

    def step(candidates: Candidates) -> Candidates:
        for token in reply.output_ids[-1:]:
            read(token)
        return _forbid(candidates, followers.get(last, ()))

    return step


HOST_PENALTIES = (newline_bias, avoid_repeat, no_repeat_ngram_size)
"""The penalties that need the token ids on the host; the others also run on a device alone."""

PENALTIES = (
    newline_bias,
    avoid_repeat,
    repetition_penalty,
    presence_and_frequency_penalty,
    no_repeat_ngram_size,
)
"""The steps applied to all logits, also for greedy decoding, in order."""


def _forbid(candidates: Candidates, banned: Sequence[int]) -> Candidates:
    logits, ids = candidates
    if not banned:
        return candidates
    return logits.index_fill(0, torch.tensor(banned), -torch.inf), ids
