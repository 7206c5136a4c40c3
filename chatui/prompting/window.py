"""Fit a prompt into the context window by dropping the oldest rounds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, ModelSpec
from chatui.prompting.format import Exchange

AnyPrompt = TypeVar("AnyPrompt")

_DEFAULT_RESERVE = 512


@dataclass(frozen=True)
class FittedPrompt(Generic[AnyPrompt]):
    """A prompt that fits into the context window.

    Attributes:
        prompt: rendered prompt.
        history: rounds in the prompt, oldest first.
        dropped_rounds: number of oldest rounds left out.
        tokens: length in tokens.
    """

    prompt: AnyPrompt
    history: tuple[Exchange, ...]
    dropped_rounds: int
    tokens: int


def fit_prompt(
    spec: ModelSpec,
    request: GenerateRequest,
    context_limit: int,
    render: Callable[[Sequence[Exchange]], AnyPrompt],
    count: Callable[[AnyPrompt], int],
) -> FittedPrompt[AnyPrompt]:
    """Render ``request`` with as many rounds as fit, dropping the oldest ones.

    Args:
        context_limit: tokens for prompt and reply.
        render: function that renders the prompt with the given rounds.
        count: function that counts the tokens of a prompt; called once if all rounds fit, else
            about 2 + log2(rounds) times.

    Raises:
        ChatuiError: the window has no room for a prompt, or the query alone does not fit.
    """
    rounds = request.history
    reserve = reply_reserve(spec, request, context_limit)
    budget = context_limit - reserve
    if budget <= 0:
        raise ChatuiError(say("prompting.no_window", limit=context_limit, reserve=reserve))

    @cache
    def without(dropped: int) -> FittedPrompt[AnyPrompt]:
        prompt = render(rounds[dropped:])
        return FittedPrompt(prompt, rounds[dropped:], dropped, count(prompt))

    def fits(dropped: int) -> bool:
        return without(dropped).tokens <= budget

    if fits(0):
        return without(0)
    if not fits(len(rounds)):
        tokens, sizes = without(len(rounds)).tokens, {"limit": context_limit, "reserve": reserve}
        raise ChatuiError(say("prompting.query_too_long", tokens=tokens, budget=budget, **sizes))
    return without(bisect_left(range(len(rounds)), True, key=fits))


def reply_reserve(spec: ModelSpec, request: GenerateRequest, context_limit: int) -> int:
    """Return the tokens reserved for the reply: the spec's, else 512 or a quarter of the window."""
    reserve = spec.reply_reserve
    if reserve is None:
        reserve = min(_DEFAULT_RESERVE, context_limit // 4)
    limit = request.sampling.max_new_tokens
    return max(1, reserve if limit is None else min(reserve, limit))
