"""Hanzi by pinyin and in both scripts."""

from __future__ import annotations

import opencc
import pytest
from pypinyin import lazy_pinyin

from chatui import hanzi
from chatui.hanzi import script_variants

TEXT = "今天天气很好我们去图书馆看书学习人工智能模型训练数据语言翻译诗歌历史文化朋友工作生活"


def test_the_tables_agree_with_pypinyin_and_opencc() -> None:
    sounds = lazy_pinyin(TEXT)
    assert hanzi.initials(TEXT).rstrip(".") == "".join(sound[0] for sound in sounds)
    assert hanzi.contains(TEXT, "".join(sounds)[:40])
    written = opencc.OpenCC("s2t").convert(TEXT)
    assert all(one in script_variants(other) for one, other in zip(TEXT, written, strict=True))


@pytest.mark.parametrize("typed", ["f", "fa", "fan", "fy", "fanyi", "fany", "FanYi", "翻"])
def test_text_begins_with_typed_pinyin(typed: str) -> None:
    assert hanzi.begins_with("翻译", typed)
    assert hanzi.contains("请翻译", typed)
    assert not hanzi.begins_with("请翻译", typed)


@pytest.mark.parametrize("typed", ["fx", "yf", "fanx", "fanyii", "i", "ng", "翻x"])
def test_pinyin_that_does_not_match(typed: str) -> None:
    assert not hanzi.begins_with("翻译", typed)


def test_script_variants() -> None:
    assert (script_variants("后"), script_variants("後")) == ("后後", "後后")
    assert script_variants("a") == "a"
    assert set(script_variants("发")) == set("发發髮") == set(script_variants("髮"))


def test_long_and_unusual_input_is_fast() -> None:
    for typed in ("an" * 500, "a" * 39 + "v", "\ud800", "😀", "", "[", "\\"):
        hanzi.contains(TEXT, typed)
