"""Splitting replies into thoughts, commands and the answer."""

from __future__ import annotations

import pytest

from chatui.prompting.parts import (
    ReplyPart,
    answer_of,
    reply_for_history,
    split_reply,
    thought_opening,
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("你好", [("answer", "你好")]),
        ("", []),
        ("<think>\n嗯\n</think>\n\n你好", [("thinking", "嗯"), ("answer", "你好")]),
        ("<think>\n\n</think>\n\n你好", [("answer", "你好")]),
        ("<think>还在想", [("thinking", "还在想")]),
        ("嗯\n</think>\n你好", [("thinking", "嗯"), ("answer", "你好")]),
        (
            "<think>甲</think>乙<think>丙</think>丁",
            [("thinking", "甲"), ("answer", "乙<think>丙</think>丁")],
        ),
        ("先说<think>想</think>", [("answer", "先说<think>想</think>")]),
        ("写 `</think>` 即可", [("answer", "写 `</think>` 即可")]),
        ("```\n<think>\n想\n</think>\n```", [("answer", "```\n<think>\n想\n</think>\n```")]),
        ("```\n</think>\n```\n好", [("answer", "```\n</think>\n```\n好")]),
        ("标记 <|MOSS|>: 是什么", [("answer", "标记 <|MOSS|>: 是什么")]),
        (
            '<|Inner Thoughts|>: 查一下<eot>\n<|Commands|>: Search("主演")<eoc>\n'
            "<|Results|>:\n<|1|>: 宋慧乔\n<eor>\n<|MOSS|>: 是宋慧乔。<sup><|1|></sup><eom>",
            [
                ("inner-thoughts", "查一下"),
                ("commands", 'Search("主演")'),
                ("results", "<|1|>: 宋慧乔"),
                ("answer", "是宋慧乔。<sup><|1|></sup>"),
            ],
        ),
        (
            "<|Inner Thoughts|>: None\n<|Commands|>: None\n<|Results|>: None\n<|MOSS|>: 你好",
            [("answer", "你好")],
        ),
        ("<|Inner Thoughts|>: 想", [("inner-thoughts", "想")]),
    ],
)
def test_parts(text: str, parts: list[tuple[str, str]]) -> None:
    assert split_reply(text) == tuple(ReplyPart(*part) for part in parts)


def test_the_answer_alone() -> None:
    assert answer_of("<think>嗯</think>你好") == "你好"
    assert answer_of("<think>嗯") == ""


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ("<think>甲</think>乙<think>丙</think>丁", "乙<think>丙</think>丁"),
        ("<think>还在想", ""),
        ("<think></think>好", "好"),
        ("看 `<think>`：\n```\n</think>\n```", "看 `<think>`：\n```\n</think>\n```"),
        ("  缩进\n", "  缩进\n"),
    ],
)
def test_prompt_history_leaves_out_thoughts(reply: str, read: str) -> None:
    assert reply_for_history(reply) == read
    assert reply_for_history(read) == read


@pytest.mark.parametrize(
    ("prompt", "mark"),
    [
        ("<｜Assistant｜><think>\n", "<think>\n"),
        ("[gMASK]<sop><|assistant|>\n<think>", "<think>\n"),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", ""),
        ("问：<think> 是什么？\n答：", ""),
        ("", ""),
    ],
)
def test_thought_opening(prompt: str, mark: str) -> None:
    assert thought_opening(prompt) == mark
