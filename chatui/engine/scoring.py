"""Scoring: the log probability of a given reply, for its perplexity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from chatui.engine.generate import build_prompt
from chatui.engine.model import LoadedModel
from chatui.engine.network import CausalNetwork
from chatui.engine.token_choice import apply_guard, finite_log_sum_exp
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, Scored

_CHUNK = 128
"""Tokens whose logits are in memory at once: 78 MB for a vocabulary of 152,000."""


def score(model: LoadedModel, request: GenerateRequest, stop_wanted: Callable[[], bool]) -> Scored:
    """Return the log probability of each token of ``partial_reply.text``, given all before it.

    The reply is encoded without an EOS token, after the same prompt that ``generate`` reads.

    Raises:
        ChatuiError: prompt and reply do not fit, it was stopped, or a logit is NaN or infinite.
    """
    prompt = build_prompt(model, request)
    cache, _ = model.prompt_cache.take(model.network, prompt.ids)
    logits = _copied(model.network.prefill(prompt.ids, cache, stop_wanted))
    log_probabilities = []
    read = list(prompt.ids)
    for start in range(0, len(prompt.begun_ids), _CHUNK):
        if logits is None or stop_wanted():
            raise ChatuiError(say("engine.score_stopped"))
        ids = prompt.begun_ids[start : start + _CHUNK]
        for id, after in zip(ids, _logits_after(model.network, ids, cache), strict=True):
            logits = apply_guard(model, logits)
            log_probabilities.append(float(logits[id]) - finite_log_sum_exp(logits))
            logits = after
        read += ids
    model.prompt_cache.put(model.network, cache, read)
    return Scored(tuple(log_probabilities))


def _logits_after(network: Any, ids: Sequence[int], cache: Any) -> Iterator[Tensor]:
    """Yield the logits after each token; only a ``CausalNetwork`` reads them all at once."""
    if isinstance(network, CausalNetwork):
        yield from network.read_reply(ids, cache)
        return
    for id in ids:
        yield _copied(network.step(id, cache))


def _copied(logits: Tensor | None) -> Any:
    """Return a copy, because logits are only valid until the next read."""
    return None if logits is None else torch.clone(logits)
