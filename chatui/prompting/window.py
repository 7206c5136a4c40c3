"""The context window: which rounds of a conversation still fit before the query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, ModelSpec
from chatui.prompting.format import Exchange

AnyPrompt = TypeVar("AnyPrompt")

_USUAL_RESERVE = 512


@dataclass(frozen=True)
class FittedPrompt(Generic[AnyPrompt]):
    """A prompt that fits.

    Attributes:
        prompt: as rendered.
        history: the rounds in it, oldest first.
        dropped_rounds: how many of the oldest rounds are not in it.
        tokens: its length.
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
    """The prompt of ``request`` with as many of the latest rounds as fit.

    Args:
        context_limit: tokens, prompt and reply together.
        render: the prompt with these rounds before the query.
        count: the length of a prompt in tokens.

    Raises:
        ChatuiError: the query does not fit even alone.
    """
    prompts: dict[int, AnyPrompt] = {}

    def count_with(rounds: Sequence[Exchange]) -> int:
        prompts[len(rounds)] = prompt = render(rounds)
        return count(prompt)

    reserve = reply_reserve(spec, request, context_limit)
    fitted = fit(request.history, count_with, context_limit=context_limit, reply_reserve=reserve)
    kept = fitted.history
    return FittedPrompt(prompts[len(kept)], kept, len(fitted.dropped), fitted.prompt_tokens)


def reply_reserve(spec: ModelSpec, request: GenerateRequest, context_limit: int) -> int:
    """Tokens that a prompt leaves to the reply: the spec's, else up to 512 or a quarter of all."""
    reserve = spec.reply_reserve
    if reserve is None:
        reserve = min(_USUAL_RESERVE, context_limit // 4)
    wanted = request.sampling.max_new_tokens
    return max(1, reserve if wanted is None else min(reserve, wanted))


@dataclass(frozen=True)
class Fitted:
    """What fits.

    Attributes:
        history: the rounds that are kept, oldest first.
        dropped: the oldest rounds, left out.
        prompt_tokens: length of the prompt with ``history``, in tokens.
    """

    history: tuple[Exchange, ...]
    dropped: tuple[Exchange, ...]
    prompt_tokens: int


def fit(
    history: Sequence[Exchange],
    count_prompt_tokens: Callable[[Sequence[Exchange]], int],
    *,
    context_limit: int,
    reply_reserve: int = 0,
) -> Fitted:
    """Drop whole rounds, oldest first, until the prompt leaves ``reply_reserve`` tokens free.

    ``count_prompt_tokens(rounds)`` is the length in tokens of the whole prompt (system prompt and
    query included) with these rounds before the query; it is called once where all fits, else
    about 2 + log2(rounds) times.

    Raises:
        ChatuiError: the window has no room for a prompt, or the query does not fit even alone.
    """
    rounds = tuple(history)
    budget = context_limit - reply_reserve
    if budget <= 0:
        raise ChatuiError(say("prompting.no_window", limit=context_limit, reserve=reply_reserve))
    tokens = count_prompt_tokens(rounds)
    if tokens <= budget:
        return Fitted(rounds, (), tokens)
    alone = count_prompt_tokens(()) if rounds else tokens
    if alone > budget:
        raise ChatuiError(
            say(
                "prompting.query_too_long",
                tokens=alone,
                limit=context_limit,
                reserve=reply_reserve,
                budget=budget,
            )
        )
    too_many, enough, tokens = 0, len(rounds), alone
    while enough - too_many > 1:
        middle = (too_many + enough) // 2
        count = count_prompt_tokens(rounds[middle:])
        if count <= budget:
            enough, tokens = middle, count
        else:
            too_many = middle
    return Fitted(rounds[enough:], rounds[:enough], tokens)
