"""How much of the context window a prompt leaves to the reply."""

from __future__ import annotations

from chatui.messages import GenerateRequest, ModelSpec

_USUAL_TOKENS = 512


def reply_reserve(spec: ModelSpec, request: GenerateRequest, context_limit: int) -> int:
    """Tokens that the prompt leaves free: the spec's, else up to 512 or a quarter of the window."""
    reserve = spec.reply_reserve
    if reserve is None:
        reserve = min(_USUAL_TOKENS, context_limit // 4)
    wanted = request.sampling.max_new_tokens
    return max(1, reserve if wanted is None else min(reserve, wanted))
