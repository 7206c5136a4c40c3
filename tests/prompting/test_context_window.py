"""Fitting rounds into the context window, with few counts."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2

import pytest

from chatui.errors import ChatuiError
from chatui.messages import GenerateRequest, ModelSpec
from chatui.prompting.format import Exchange
from chatui.prompting.formats import get
from chatui.prompting.window import FittedPrompt, fit_prompt

FORMAT = get("shiyou")


class Counter:
    """Counts one token per character, and its own calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, prompt: str) -> int:
        self.calls += 1
        return len(prompt)


def fit(
    history: Sequence[Exchange],
    limit: int,
    reserve: int,
    query: str = "好",
    count: Counter | None = None,
) -> FittedPrompt[str]:
    spec = ModelSpec("m", "m", reply_reserve=reserve)
    request = GenerateRequest(query, tuple(history))

    def render(rounds: Sequence[Exchange]) -> str:
        return FORMAT.render(rounds, query, None)

    return fit_prompt(spec, request, limit, render, count or Counter())


def test_rounds_that_all_fit_are_counted_once() -> None:
    count = Counter()
    fitted = fit([("一", "二")], 100, 20, count=count)
    assert fitted.history == (("一", "二"),)
    assert fitted.dropped_rounds == 0
    assert count.calls == 1
    assert fitted.tokens == len(fitted.prompt)


def test_the_most_rounds_that_fit_are_kept() -> None:
    history = [(f"问题{n}" * (n % 5 + 1), "答" * (n * 7 % 11)) for n in range(12)]
    for limit in range(40, 400, 7):
        fitted = fit(history, limit, 10)
        dropped = fitted.dropped_rounds
        assert fitted.history == tuple(history[dropped:])
        assert fitted.tokens == len(FORMAT.render(fitted.history, "好", None)) <= limit - 10
        if dropped:
            assert len(FORMAT.render(history[dropped - 1 :], "好", None)) > limit - 10


def test_many_rounds_need_few_counts() -> None:
    count = Counter()
    fitted = fit([("问" * 9, "答" * 30)] * 500, 2048, 256, count=count)
    assert 0 < len(fitted.history) < 500
    assert count.calls <= 2 + ceil(log2(500))


def test_kept_rounds_are_numbered_again() -> None:
    fitted = fit([("甲", "乙" * 100), ("丙", "丁")], 60, 1)
    assert fitted.prompt.startswith("[Round 0]\n问：丙\n")


def test_a_query_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ChatuiError) as caught:
        fit([("一", "二")], 128, 28, query="长" * 500)
    for number in ("515", "128", "28", "100"):
        assert number in str(caught.value)


@pytest.mark.parametrize(("limit", "reserve"), [(0, 0), (64, 64), (64, 100), (-1, 0)])
def test_a_window_without_room_is_refused(limit: int, reserve: int) -> None:
    count = Counter()
    with pytest.raises(ChatuiError, match=str(limit)):
        fit([], limit, reserve, count=count)
    assert count.calls == 0
