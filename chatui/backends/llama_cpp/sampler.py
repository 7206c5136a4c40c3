"""Our sampling settings as a chain of llama.cpp's samplers.

Imported in llama.cpp's own process alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt
from llama_cpp._internals import LlamaSampler

from chatui.backends.llama_cpp.model import GgufModel
from chatui.sampling import SamplingSettings

_EVEN_TEMPERATURE = 1e9
"""Makes the candidates that top-k left equally likely."""


def not_available(settings: SamplingSettings) -> tuple[str, ...]:
    """Names of the settings in use that llama.cpp has no sampler for."""
    names = ("no_repeat_ngram_size", "penalty_decay")
    defaults = SamplingSettings()
    return tuple(name for name in names if getattr(settings, name) != getattr(defaults, name))


class Sampler:
    """Chooses the tokens of one reply, in the engine's order: penalties, temperature, top-k, …

    Args:
        model: whose logits are sampled.
        settings: how to choose.
        prompt_ids: tokens of the prompt; the penalty on repetition sees them.
        seed: the reply's.
    """

    def __init__(
        self, model: GgufModel, settings: SamplingSettings, prompt_ids: Sequence[int], seed: int
    ) -> None:
        self._context = model.context
        penalties = _penalties(model, settings, prompt_ids)
        greedy = settings.greedy or settings.temperature == 0
        self._chain: LlamaSampler | None = None
        if greedy and not penalties:
            return
        self._chain = LlamaSampler()
        add = self._add
        for penalty in penalties:
            add(penalty)
        if greedy:
            add(llama_cpp.llama_sampler_init_greedy())
            return
        if settings.uniform_top_k:
            add(llama_cpp.llama_sampler_init_top_k(settings.top_k or 1))
            add(llama_cpp.llama_sampler_init_temp(_EVEN_TEMPERATURE))
        else:
            if settings.temperature != 1:
                add(llama_cpp.llama_sampler_init_temp(settings.temperature))
            if settings.top_k > 0:
                add(llama_cpp.llama_sampler_init_top_k(settings.top_k))
            if settings.top_p < 1:
                add(llama_cpp.llama_sampler_init_top_p(settings.top_p, 1))
            if settings.min_p > 0:
                add(llama_cpp.llama_sampler_init_min_p(settings.min_p, 1))
        # 2³² − 1 would mean a random seed.
        add(llama_cpp.llama_sampler_init_dist(seed % llama_cpp.LLAMA_DEFAULT_SEED))

    def choose(self, logits: npt.NDArray[np.float32]) -> int:
        """The next token, from the model's own ``logits`` ``[vocabulary]``."""
        if self._chain is None:
            return int(logits.argmax())
        return int(self._chain.sample(self._context, -1))

    def close(self) -> None:
        if self._chain is not None:
            self._chain.close()

    def _add(self, sampler: Any) -> None:
        assert self._chain is not None
        llama_cpp.llama_sampler_chain_add(self._chain.sampler, sampler)


def _penalties(
    model: GgufModel, settings: SamplingSettings, prompt_ids: Sequence[int]
) -> list[Any]:
    """The penalty on repetition, which sees the prompt, and the two that see the reply alone."""

    def penalty(repeat: float, frequency: float, presence: float) -> Any:
        window = model.context_limit
        return llama_cpp.llama_sampler_init_penalties(
            model.vocabulary_size, window, repeat, frequency, presence
        )

    wanted = []
    if settings.repetition_penalty != 1:
        repetition = penalty(settings.repetition_penalty, 0.0, 0.0)
        for token in prompt_ids:
            llama_cpp.llama_sampler_accept(repetition, token)
        wanted.append(repetition)
    if settings.frequency_penalty != 0 or settings.presence_penalty != 0:
        wanted.append(penalty(1.0, settings.frequency_penalty, settings.presence_penalty))
    return wanted
