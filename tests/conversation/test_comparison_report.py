"""Compared replies: the summary and the report formats."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from chatui.conversation.compared_replies import (
    ComparedReplies,
    ComparedReply,
    ComparedRound,
    agreement,
    perplexity,
)
from chatui.conversation.comparison_report import report_writer, to_html, to_json, to_markdown
from chatui.errors import ChatuiError

HOSTILE = "<b>|\x1b[31m\ud800"


def compared() -> ComparedReplies:
    first = ComparedRound(
        "a.jsonl",
        1,
        f"写诗{HOSTILE}",
        {
            0: ComparedReply("床前明月光", (1, 2, 3, 4), seconds=2.0),
            1: ComparedReply("床前看月光", (1, 2, 3, 4), seconds=1.0),
            2: ComparedReply(f"好{HOSTILE}", (5,), seconds=0.5),
        },
        {(0, 1): (-1.0, -3.0), (1, 1): (-2.0,), (0, 2): (-800.0,)},
    )
    second = ComparedRound(
        "a.jsonl",
        2,
        "再来",
        {0: ComparedReply("好"), 1: ComparedReply("好"), 2: ComparedReply("坏", error="断了")},
    )
    return ComparedReplies(("recorded", "A|B", HOSTILE), {1: {"name": "A|B"}}, (first, second))


def test_the_summary_leaves_out_unknown_values() -> None:
    whole = compared()
    assert agreement("床前明月光", "床前看月光") == pytest.approx(0.8)
    assert (agreement("", ""), agreement("", "好")) == (1, 0)
    assert whole.identical_count(1) == 1 and whole.agreement(1) == pytest.approx(0.9)
    assert whole.tokens_per_second(0) == 2 and whole.tokens_per_second(1) == 4
    assert whole.perplexity(0, 1) == pytest.approx(math.exp(2))
    assert whole.perplexity(2, 1) is None and whole.perplexity(0, 2) == math.exp(700)
    assert len(whole.replies(2)) == 1
    assert perplexity([]) is None


def test_every_format_is_complete_and_escaped() -> None:
    whole = compared()
    found = json.loads(to_json(whole))
    assert [len(each["replies"]) for each in found["rounds"]] == [3, 3]
    assert found["rounds"][1]["replies"][2]["error"] == "断了"
    assert found["summary"][1]["perplexity"] == {"A|B": pytest.approx(math.exp(2)), HOSTILE: None}
    page = to_html(whole)
    assert "<mark>看</mark>" in page and "<b>" not in page and "断了" in page
    text = to_markdown(whole)
    header = next(line for line in text.splitlines() if line.startswith("|"))
    assert header.count("|") - header.count("\\|") == 5
    assert "not available" in text and "断了" in text
    for form in (page, text, to_json(whole)):
        assert "\x1b" not in form and form.encode()


def test_the_ending_chooses_the_format() -> None:
    assert report_writer(Path("x.MD")) is to_markdown
    with pytest.raises(ChatuiError, match="md"):
        report_writer(Path("x.pdf"))
