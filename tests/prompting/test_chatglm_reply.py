"""Cleaning ChatGLM-6B's replies."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest

from chatui.prompting.formats.dialogues import FULL_WIDTH, process_response


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("", ""),
        ("\n 好 \t", "好"),
        ("好,a", "好，a"),
        ("a,好", "a，好"),
        ("a,b! c", "a,b! c"),
        ("好,,b", "好，,b"),
        ("好,,好", "好，，好"),
        ("是?!不", "是？！不"),
        ("1:2", "1:2"),
        ("[[训练时间]],好", "2023年，好"),
        ("[[训练时间]", "[[训练时间]"),
        ("かな,カナ", "かな,カナ"),
        ("。,好", "。，好"),
        ("鿿;", "鿿；"),
        ("㐀;", "㐀;"),
        ("好.好", "好.好"),
    ],
)
def test_marks_next_to_cjk_become_full_width(raw: str, shown: str) -> None:
    assert process_response(raw) == shown


def test_equals_the_reference(reference: Path) -> None:
    cases = json.loads((reference / "chatglm-6b/process_response.json").read_text("utf-8"))
    assert cases
    for case in cases:
        assert process_response(case["raw"]) == case["shown"]


def test_one_pass_equals_successive_substitutions() -> None:
    def one_by_one(text: str) -> str:
        text = text.strip().replace("[[训练时间]]", "2023年")
        for half, full in FULL_WIDTH.items():
            text = re.sub(rf"([\u4e00-\u9fff]){re.escape(half)}", rf"\1{full}", text)
            text = re.sub(rf"{re.escape(half)}([\u4e00-\u9fff])", rf"{full}\1", text)
        return text

    random_ = random.Random(0)
    atoms = [*",!:;?，", "中", "文", "a", " ", "\n", "[[训练时间]]"]
    for _ in range(2000):
        raw = "".join(random_.choices(atoms, k=random_.randint(0, 10)))
        assert process_response(raw) == one_by_one(raw)
