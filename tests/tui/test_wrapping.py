"""Wrapping Chinese and English text into rows."""

from __future__ import annotations

import random

import pytest
from rich.cells import cell_len

from chatui.tui.wrapped_text import WrappedText
from chatui.tui.wrapping import row_starts

GRAPHEMES = [*"春风又绿江南岸，。「」（）《》“”——…… abc de-f, xyz. \t🙂𠮷\n", "👨‍👩‍👧", "e\u0301"]


def rows(text: str, width: int) -> list[str]:
    return [row.text for row in WrappedText(text, width).rows]


def test_chinese_fills_the_row() -> None:
    assert rows("春眠不觉晓处处闻啼鸟", 10) == ["春眠不觉晓", "处处闻啼鸟"]


def test_no_row_begins_with_a_closing_mark() -> None:
    assert rows("春眠不觉晓，处处闻啼鸟。", 10) == ["春眠不觉", "晓，处处闻", "啼鸟。"]


def test_no_row_ends_with_an_opening_mark() -> None:
    assert rows("我读过一《春晓》", 10) == ["我读过一", "《春晓》"]


def test_english_words_stay_whole() -> None:
    assert rows("the quick brown fox", 10) == ["the quick ", "brown fox"]


def test_a_word_longer_than_the_row_is_cut() -> None:
    assert rows("a" * 25, 10) == ["a" * 10, "a" * 10, "a" * 5]


def test_mixed_text_breaks_between_scripts() -> None:
    assert rows("使用transformers库", 12) == ["使用", "transformers", "库"]


def test_newlines_and_empty_paragraphs() -> None:
    assert rows("a\n\nb\n", 10) == ["a", "", "b", ""]


@pytest.mark.parametrize("width", [1, 2, 3, 7, 20])
def test_rows_fit_and_lose_nothing(width: int) -> None:
    generator = random.Random(width)
    for _ in range(200):
        text = "".join(generator.choices(GRAPHEMES, k=generator.randrange(60)))
        wrapped = WrappedText(text, width)
        assert wrapped.text == text
        for row in wrapped.rows:
            shown = row.text.rstrip().replace("\t", "    ")
            assert cell_len(shown) <= max(width, 2) or "\t" in row.text


@pytest.mark.parametrize("width", [2, 9, 33])
def test_growing_text_has_the_rows_of_complete_text(width: int) -> None:
    generator = random.Random(width)
    for _ in range(100):
        pieces = generator.choices([g for g in GRAPHEMES if g != "\t"], k=40)
        growing = WrappedText("", width)
        for piece in pieces:
            growing.append(piece)
        assert growing.rows == WrappedText("".join(pieces), width).rows


def test_rewrap_equals_a_new_text() -> None:
    text = "春眠不觉晓，处处闻啼鸟。hello world\n" * 3
    wrapped = WrappedText(text, 12)
    wrapped.rewrap(20)
    assert wrapped.rows == WrappedText(text, 20).rows


def test_append_returns_the_first_changed_row() -> None:
    wrapped = WrappedText("春眠不觉晓处处", 10)
    assert len(wrapped.rows) == 2
    assert wrapped.append("闻啼鸟夜来") == 1


def test_row_starts_of_a_width_below_one() -> None:
    assert row_starts("ab", 0) == [1]
