"""What the model would read, and what it would say next."""

from __future__ import annotations

from chatui.engine.generation import candidates, log_total
from chatui.engine.model import LoadedModel
from chatui.engine.prompt import build_prompt
from chatui.messages import Candidate, GenerateRequest, Inspection


def inspect(model: LoadedModel, request: GenerateRequest, top: int) -> Inspection:
    """The prompt of ``request`` in all its forms, and the ``top`` best next tokens.

    Raises:
        ChatuiError: the query does not fit, or the logits are no numbers.
    """
    prompt = build_prompt(model, request)
    cache, _ = model.prompt_cache.take(model.network, prompt.ids)
    logits = model.network.prefill(prompt.ids, cache, lambda: False)
    model.prompt_cache.put(model.network, cache, list(prompt.ids))
    following: tuple[Candidate, ...] = ()
    if logits is not None and top > 0:
        if model.guard is not None:
            logits = model.guard(logits)
        following = candidates(model, logits, log_total(logits), top)
    return Inspection(
        prompt=prompt.text,
        input_ids=prompt.ids,
        tokens=tuple(model.codec.piece(id) for id in prompt.ids),
        position_ids=model.network.position_rows(len(prompt.ids)),
        context_used=len(prompt.ids),
        context_limit=model.context_limit,
        dropped_rounds=prompt.dropped_rounds,
        next=following,
        notes=prompt.notes,
    )
