"""The context window: which rounds of a conversation still fit before the query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting.format import Exchange


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
