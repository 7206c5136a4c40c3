"""``chatui ask`` with the embedded model."""

from __future__ import annotations

import json
import re
from pathlib import Path

from command import Chatui

VERSE = re.compile(r"[\u4e00-\u9fff]+")


def test_it_writes_a_poem_and_follows_up(chatui: Chatui, tmp_path: Path) -> None:
    query = "写一首七言绝句，题目是《春夜》"
    first = json.loads(chatui("ask", query, "--seed", "1", "--json").stdout)
    assert (first["model"], first["format"], first["finish_reason"]) == ("shiyou", "shiyou", "eos")
    title, *couplets = first["text"].splitlines()
    assert title == "《春夜》"
    assert [len(line) for couplet in couplets for line in VERSE.findall(couplet)] == [7] * 4

    history = tmp_path / "history.json"
    history.write_text(json.dumps([[query, first["text"]]]), encoding="utf-8")
    ask = ("ask", "换成五言", "--history", str(history), "--seed", "1")
    second = chatui(*ask)
    assert second.returncode == 0 and "Traceback" not in second.stderr
    title, *couplets = second.stdout.splitlines()
    assert title == "《春夜》"
    assert [len(line) for couplet in couplets for line in VERSE.findall(couplet)] == [5] * 4


def test_the_continuation_goes_on_from_the_text(chatui: Chatui) -> None:
    done = chatui("ask", "床前明月光", "--model", "xuxie", "--max-new-tokens", "20", "--json")
    said = json.loads(done.stdout)
    assert (said["model"], said["format"], said["prompt"]) == (
        "xuxie",
        "gpt2-chinese",
        "床前明月光",
    )
    assert said["text"] and " " not in said["text"]
