"""The path of a reply: prompt, prefill, and the decode loop."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from chatui.engine.model import LoadedModel
from chatui.engine.prompt import build_prompt
from chatui.engine.samplers import Sampler
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import (
    Candidate,
    Done,
    FinishReason,
    GenerateRequest,
    Prefill,
    ReplyEvent,
    Token,
)
from chatui.prompting.format import canned
from chatui.text import StopStrings


def generate(
    model: LoadedModel, request: GenerateRequest, stop_wanted: Callable[[], bool]
) -> Iterator[ReplyEvent]:
    """Answer ``request``: one ``Prefill``, the ``Token``s as they come, one ``Done``.

    Raises:
        ChatuiError: the query does not fit, or the logits are no numbers.
    """
    began = time.monotonic()
    answer = model.format.answer_to(request.query)
    if answer is not None:
        yield from canned(answer, model.context_limit)
        return
    free = model.format.is_free(request.query)
    settings = replace(request.sampling, newline_bias=request.sampling.newline_bias and not free)
    prompt = build_prompt(model, request)
    if not prompt.ids:
        raise ChatuiError(say("engine.empty_prompt"))
    seed = secrets.randbits(32) if settings.seed is None else settings.seed % 2**64
    cache, reused = model.prompt_cache.take(model.network, prompt.ids)
    limit = model.context_limit
    yield Prefill(
        prompt.text, len(prompt.ids), reused, limit, prompt.dropped_rounds, seed, prompt.notes
    )

    room = limit - len(prompt.ids)
    most = settings.max_new_tokens
    most = model.format.free_tokens if most is None and free else most
    room = room if most is None else min(room, most)
    sampler = Sampler(settings, prompt.ids, seed, model.codec.encode, model.eos_ids)
    detokenizer = model.codec.detokenizer()
    stops = StopStrings(
        (*request.stop_strings, *model.spec.stop_strings, *model.format.stops_for(request.query))
    )
    read = list(prompt.ids)
    output: list[int] = []
    texts: list[str] = []
    reason: FinishReason | None = None if room > 0 else "length"
    first_token_seconds = 0.0
    logits = model.network.prefill(prompt.ids, cache, stop_wanted) if room > 0 else None
    if logits is None:
        # Stopped while reading: only what the cache holds was read.
        del read[cache.get_seq_length() :]
    while reason is None:
        if logits is None or stop_wanted():
            reason = "cancelled"
            break
        if model.guard is not None:
            logits = model.guard(logits)
        total = log_total(logits)
        token = sampler(logits)
        output.append(token)
        if token in model.eos_ids:
            reason, text = "eos", ""
        else:
            text = stops.add(detokenizer.add(token))
            if stops.stopped:
                reason = "stop"
            elif len(output) >= room:
                reason = "length"
        if reason in ("eos", "length"):
            text += stops.add(detokenizer.flush()) + stops.flush()
        texts.append(text)
        alternatives = (
            candidates(model, logits, total, request.alternatives) if request.alternatives else ()
        )
        if not first_token_seconds:
            first_token_seconds = time.monotonic() - began
        yield Token(text, token, float(logits[token]) - total, alternatives)
        if reason is None and not stop_wanted():
            logits = model.network.step(token, cache)
            read.append(token)
    if reason == "cancelled":
        rest = stops.add(detokenizer.flush()) + stops.flush()
        if rest:
            texts.append(rest)
            yield Token(rest)
    model.prompt_cache.put(model.network, cache, read)
    reply = model.format.clean(request.query, "".join(texts))
    yield Done(
        text=reply,
        finish_reason=reason,
        output_ids=tuple(output),
        seed=seed,
        prompt_tokens=len(prompt.ids),
        output_tokens=len(output),
        first_token_seconds=first_token_seconds,
        total_seconds=time.monotonic() - began,
    )
    if model.after_reply is not None:
        model.after_reply(model, request, reply, stop_wanted)


def log_total(logits: Tensor) -> float:
    """log Σ exp of all logits.

    Raises:
        ChatuiError: a logit is NaN or infinite.
    """
    total = float(torch.logsumexp(logits, 0))
    if not math.isfinite(total):
        raise ChatuiError(say("engine.not_finite"))
    return total


def candidates(
    model: LoadedModel, logits: Tensor, total: float, count: int
) -> tuple[Candidate, ...]:
    """The ``count`` best tokens, best first, with their share of all probability."""
    best, ids = torch.topk(logits, min(count, logits.shape[0]))
    return tuple(
        Candidate(id, model.codec.piece(id), logit, math.exp(logit - total))
        for id, logit in zip(ids.tolist(), best.tolist(), strict=True)
    )
