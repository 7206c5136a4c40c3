"""``chatui dataset``: filters of conversations, and preference pairs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import read_lines, write_lines

from chatui import locations
from chatui.cli.parser import run
from chatui.conversation.store import Store
from chatui.conversation.transcript_writer import to_lines


@pytest.fixture
def rated(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A conversation of two rounds: the first one rated bad and good, the second one corrected."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    now = iter(range(1_767_225_600, 1_767_300_000, 3600))
    store = Store(locations.database_file(), clock=lambda: float(next(now)))

    def add(parent: Any, query: str, reply: str, model: str = "诗友", **more: Any) -> Any:
        begun = store.add_round(1 if parent else None, parent, query, model, **more)
        return store.finish_round(replace(begun, state="done", reply=reply, finish_reason="eos"))

    bad = add(None, "甲", "差")
    good = store.add_round(1, None, "甲", "ChatGLM")
    good = store.finish_round(replace(good, state="done", reply="好"))
    wrong = add(good.id, "乙", "错", sampling={"system": "作诗"})
    add(good.id, "乙", "对", corrects_id=wrong.id, sampling={"system": "作诗", "edited": True})
    store.organise(1, tags=["诗", "作业"])
    store.rate(bad.id, -1)
    store.rate(good.id, 1)
    yield store
    store.close()


def text_of(ids: list[int]) -> str:
    """Decode ids with the embedded model's tokenizer, without [SEP]."""
    from transformers import AutoTokenizer

    folder = locations.assets_folder() / "shiyou"
    return str(AutoTokenizer.from_pretrained(folder).decode(ids)).removesuffix(" [SEP]")


def replies_of(file: Path) -> list[str]:
    rows = read_lines(file)
    return [text_of([id for id in row["labels"] if id != -100]) for row in rows]


@pytest.mark.parametrize(
    ("options", "replies"),
    [
        (["--conversation", "all"], ["好", "对"]),
        (["--rated", "good"], ["好", "对"]),
        (["--tag", "诗", "--tag", "#作业"], ["好", "对"]),
        (["--rating", "+", "--until", "2026-01-01T04:30"], ["好"]),
        (["--rated", "-"], ["差", "错"]),
        (["--model-of", "chatglm"], ["好"]),
        (["--since", "2026-01-01T04:30"], ["对"]),
    ],
)
def test_filters_choose_the_replies(
    rated: Store,
    tmp_path: Path,
    options: list[str],
    replies: list[str],
) -> None:
    out = tmp_path / "out.jsonl"
    assert run(["dataset", *options, "--model", "shiyou", "-o", str(out)]) == 0
    assert replies_of(out) == replies
    # A transcript says the same as the store.
    talk = tmp_path / "talk.jsonl"
    talk.write_text("".join(to_lines(rated.transcript(1))))
    options = [str(talk), *(options if options[0] != "--conversation" else [])]
    assert run(["dataset", *options, "--model", "shiyou", "-o", str(out)]) == 0
    assert replies_of(out) == replies


def test_preference_pairs_of_ratings_and_corrections(
    rated: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pairs.jsonl"
    assert run(["dataset", "--pairs", "-o", str(out)]) == 0
    first, second = read_lines(out)
    assert first == {
        "prompt": [{"role": "user", "content": "甲"}],
        "chosen": [{"role": "assistant", "content": "好"}],
        "rejected": [{"role": "assistant", "content": "差"}],
    }
    assert second == {
        "prompt": [
            {"role": "system", "content": "作诗"},
            {"role": "user", "content": "甲"},
            {"role": "assistant", "content": "好"},
            {"role": "user", "content": "乙"},
        ],
        "chosen": [{"role": "assistant", "content": "对"}],
        "rejected": [{"role": "assistant", "content": "错"}],
    }
    assert "2 preference pairs" in capsys.readouterr().out
    command = ["dataset", "--pairs", "--as", "llama-factory", "-o", str(out)]
    assert run([*command, "--since", "2026-01-01T04:30"]) == 0
    assert read_lines(out) == [
        {"prompt": "乙", "chosen": "对", "rejected": "错", "history": [["甲", "好"]],
         "system": "作诗"}
    ]  # fmt: skip
    assert run([*command, "--model", "shiyou"]) == 0
    pair = read_lines(out)[1]
    prompt, chosen, rejected = (
        text_of(pair[f"{name}_input_ids"]) for name in ("prompt", "chosen", "rejected")
    )
    assert "甲" in prompt and "好" in prompt and "乙" in prompt
    assert (chosen, rejected) == ("对", "错")
    assert pair["chosen_input_ids"][-1] == pair["rejected_input_ids"][-1]


def test_a_failed_reply_is_never_preferred(rated: Store, tmp_path: Path) -> None:
    rated.rate(4, 0)
    for id in (1, 2):
        rated.finish_round(replace(rated.round(id), state="stopped"))
    out = tmp_path / "pairs.jsonl"
    assert run(["dataset", "--pairs", "-o", str(out)]) == 0
    assert [row["chosen"][0]["content"] for row in read_lines(out)] == ["对"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--pairs", "rows.jsonl", "-o", "out"], 1),
        (["--rated", "good", "rows.jsonl", "-o", "out"], 1),
        (["--rated", "good", "-o", "out"], 1),
        (["--pairs", "-o", "out"], 1),
        (["--tag", "none", "-o", "out"], 1),
        (["--pairs", "--as", "arrow", "-o", "out"], 2),
        (["rows.jsonl", "--as", "trl", "-o", "out"], 2),
        (["--since", "yesterday", "-o", "out"], 2),
        (["--until", "9999-12-31", "-o", "out"], 2),
        (["--pairs"], 2),
    ],
)
def test_filters_without_a_match_are_reported(
    tmp_path: Path,
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_lines(tmp_path / "rows.jsonl", [{"prompt": "春", "response": "眠"}])
    model = [] if "--pairs" in options else ["--model", tiny]
    assert run(["dataset", *options, *model]) == code
    said = capsys.readouterr()
    assert said.out == "" and said.err and not Path("out").exists()
