"""The context window drops whole rounds, oldest first, with few counts."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2

import pytest

from chatui.errors import ChatuiError
from chatui.prompting import window
from chatui.prompting.format import Exchange
from chatui.prompting.formats import get


class Counter:
    """One token a character of the format's prompt; keeps count of its calls."""

    def __init__(self, query: str, format: str = "shiyou") -> None:
        self.query, self.format, self.calls = query, get(format), 0

    def __call__(self, rounds: Sequence[Exchange]) -> int:
        self.calls += 1
        return len(self.format.render(rounds, self.query, None))


def test_all_rounds_fit_with_one_count() -> None:
    count = Counter("好")
    fitted = window.fit([("一", "二")], count, context_limit=100, reply_reserve=20)
    assert fitted.history == (("一", "二"),)
    assert fitted.dropped == ()
    assert count.calls == 1
    assert fitted.prompt_tokens == count([("一", "二")])


def test_the_most_rounds_that_fit_are_kept() -> None:
    history = [(f"问题{n}" * (n % 5 + 1), "答" * (n * 7 % 11)) for n in range(12)]
    count = Counter("好")
    for limit in range(40, 400, 7):
        fitted = window.fit(history, count, context_limit=limit, reply_reserve=10)
        kept = len(fitted.history)
        assert fitted.dropped + fitted.history == tuple(history)
        assert fitted.prompt_tokens == count(fitted.history) <= limit - 10
        if kept < len(history):
            assert count(history[len(history) - kept - 1 :]) > limit - 10


def test_few_counts_for_many_rounds() -> None:
    history = [("问" * 9, "答" * 30)] * 500
    count = Counter("好")
    fitted = window.fit(history, count, context_limit=2048, reply_reserve=256)
    assert 0 < len(fitted.history) < 500
    assert count.calls <= 2 + ceil(log2(500))


def test_the_format_renumbers_what_is_left() -> None:
    history = [("甲", "乙" * 100), ("丙", "丁")]
    count = Counter("好")
    fitted = window.fit(history, count, context_limit=60)
    assert get("shiyou").render(fitted.history, "好", None).startswith("[Round 0]\n问：丙\n")


def test_a_query_that_does_not_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(ChatuiError) as caught:
        window.fit([("一", "二")], Counter("长" * 500), context_limit=128, reply_reserve=28)
    for number in ("515", "128", "28", "100"):
        assert number in str(caught.value)


@pytest.mark.parametrize(("limit", "reserve"), [(0, 0), (64, 64), (64, 100), (-1, 0)])
def test_a_window_without_room_is_refused(limit: int, reserve: int) -> None:
    count = Counter("好")
    with pytest.raises(ChatuiError, match=str(limit)):
        window.fit([], count, context_limit=limit, reply_reserve=reserve)
    assert count.calls == 0
