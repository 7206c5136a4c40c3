"""Thoughts and commands are told apart from the answer."""

from __future__ import annotations

import pytest

from chatui.prompting.parts import ReplyPart, answer_of, split_reply


@pytest.mark.parametrize(
    ("text", "thinking", "parts"),
    [
        ("你好", False, [("answer", "你好")]),
        ("", False, []),
        ("<think>\n嗯\n</think>\n\n你好", False, [("thinking", "嗯"), ("answer", "你好")]),
        ("<think>\n\n</think>\n\n你好", False, [("answer", "你好")]),
        ("<think>还在想", False, [("thinking", "还在想")]),
        ("嗯\n</think>\n你好", False, [("thinking", "嗯"), ("answer", "你好")]),
        ("还在想", True, [("thinking", "还在想")]),
        ("嗯</think>好", True, [("thinking", "嗯"), ("answer", "好")]),
        (
            '<|Inner Thoughts|>: 查一下<eot>\n<|Commands|>: Search("主演")<eoc>\n'
            "<|Results|>:\n<|1|>: 宋慧乔\n<eor>\n<|MOSS|>: 是宋慧乔。<sup><|1|></sup><eom>",
            False,
            [
                ("inner-thoughts", "查一下"),
                ("commands", 'Search("主演")'),
                ("results", "<|1|>: 宋慧乔"),
                ("answer", "是宋慧乔。<sup><|1|></sup>"),
            ],
        ),
        (
            "<|Inner Thoughts|>: None\n<|Commands|>: None\n<|Results|>: None\n<|MOSS|>: 你好",
            False,
            [("answer", "你好")],
        ),
        ("<|Inner Thoughts|>: 想", False, [("inner-thoughts", "想")]),
    ],
)
def test_parts(text: str, thinking: bool, parts: list[tuple[str, str]]) -> None:
    assert split_reply(text, thinking=thinking) == tuple(ReplyPart(*part) for part in parts)


def test_the_answer_alone() -> None:
    assert answer_of("<think>嗯</think>你好") == "你好"
    assert answer_of("<think>嗯") == ""
