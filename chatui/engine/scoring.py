"""How probable a loaded model finds a reply that it is given, for the reply's perplexity."""

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

_AT_ONCE = 128
"""Tokens whose logits are held at once: 78 MB for a vocabulary of 152,000."""


def score(model: LoadedModel, request: GenerateRequest, stop_wanted: Callable[[], bool]) -> Scored:
    """The log probabilities of the tokens of ``request.begun.text``, each after all before it.

    The reply is encoded as one that goes on: without the end token, behind the same prompt that
    ``generate`` would read.

    Raises:
        ChatuiError: prompt and reply do not fit, it was stopped, or a logit is NaN or infinite.
    """
    prompt = build_prompt(model, request)
    cache, _ = model.prompt_cache.take(model.network, prompt.ids)
    logits = _copied(model.network.prefill(prompt.ids, cache, stop_wanted))
    found = []
    read = list(prompt.ids)
    for start in range(0, len(prompt.begun_ids), _AT_ONCE):
        if logits is None or stop_wanted():
            raise ChatuiError(say("engine.score_stopped"))
        ids = prompt.begun_ids[start : start + _AT_ONCE]
        for id, after in zip(ids, _logits_after(model.network, ids, cache), strict=True):
            logits = apply_guard(model, logits)
            found.append(float(logits[id]) - finite_log_sum_exp(logits))
            logits = after
        read += ids
    model.prompt_cache.put(model.network, cache, read)
    return Scored(tuple(found))


def _logits_after(network: Any, ids: Sequence[int], cache: Any) -> Iterator[Tensor]:
    """The logits after each token; what reads no reply at once goes step by step."""
    if isinstance(network, CausalNetwork):
        yield from network.read_reply(ids, cache)
        return
    for id in ids:
        yield _copied(network.step(id, cache))


def _copied(logits: Tensor | None) -> Any:
    """A copy: they are valid only until the network reads on."""
    return None if logits is None else torch.clone(logits)
