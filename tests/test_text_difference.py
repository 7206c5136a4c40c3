"""Differences between two or three texts."""

from __future__ import annotations

import random
import time

from chatui.text_difference import MOST_UNITS, differences, differing_spans


def parts(text: str, spans: tuple[tuple[int, int], ...]) -> list[str]:
    return [text[start:end] for start, end in spans]


def test_chinese_differs_by_characters_and_latin_by_words() -> None:
    one, other = "春风又绿江南岸 in spring", "春风吹绿江南岸 in Springtime"
    mine, theirs = differences(one, other)
    assert parts(one, mine) == ["又", "spring"]
    assert parts(other, theirs) == ["吹", "Springtime"]


def test_a_text_with_an_addition() -> None:
    assert differences("明月", "明月光") == ((), ((2, 3),))
    assert differences("", "明") == ((), ((0, 1),))
    assert differences("明月", "明月") == ((), ())


def test_grapheme_clusters_are_not_split() -> None:
    one, other = "好👨‍👩‍👧好", "好👨‍👩‍👦好"
    mine, theirs = differences(one, other)
    assert (parts(one, mine), parts(other, theirs)) == (["👨‍👩‍👧"], ["👨‍👩‍👦"])
    assert differences("e\u0301", "e") == (((0, 2),), ((0, 1),))


def test_short_common_runs_count_as_different() -> None:
    one, other = "白日依山的尽黄河入海流", "千山鸟飞的绝万径人踪灭"
    assert parts(one, differences(one, other)[0]) == [one]


def test_texts_are_compared_with_the_first() -> None:
    texts = ["甲乙丙丁戊", "甲乙丙丁己", "庚乙丙丁戊"]
    spans = differing_spans(texts)
    assert [parts(text, each) for text, each in zip(texts, spans, strict=True)] == [
        ["甲", "戊"],
        ["己"],
        ["庚"],
    ]
    assert differing_spans([]) == [] and differing_spans(["甲"]) == [()]


def test_long_texts_are_compared_by_lines() -> None:
    line = "床前明月光，疑是地上霜。"
    one = "\n".join(line for _ in range(MOST_UNITS // 4))
    other = one.replace(line, "举头望明月", 1)
    started = time.process_time()
    mine, theirs = differences(one, other)
    assert parts(one, mine) == [line + "\n"] and parts(other, theirs) == ["举头望明月\n"]
    assert time.process_time() - started < 2


def test_lone_surrogates_and_control_characters() -> None:
    pieces = ["\ud800", "\x1b[31m", "a", "好", "\r\n", "\u202e"]
    chooser = random.Random(7)
    for _ in range(50):
        one, other = ("".join(chooser.choices(pieces, k=8)) for _ in range(2))
        mine, theirs = differences(one, other)
        assert _rest(one, mine) == _rest(other, theirs)


def _rest(text: str, spans: tuple[tuple[int, int], ...]) -> str:
    for start, end in reversed(spans):
        text = text[:start] + text[end:]
    return text
