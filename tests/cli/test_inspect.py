"""``chatui inspect``: the prompt of every format, and candidates of real weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Chatui, InTerminal, is_one_sentence

from chatui.cli import inspect
from chatui.cli.parser import run
from chatui.messages import Candidate, Inspection
from chatui.prompting import formats
from chatui.sampling import SamplingSettings

WITHOUT = ("inspect", "--no-model", "--json")


def test_every_format_renders_without_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    for name in formats.names():
        assert run([*WITHOUT, "你好", "--format", name]) == 0
        said = json.loads(capsys.readouterr().out)
        assert said == {"prompt": formats.get(name).render((), "你好", None), "format": name}


def test_prompts_match_the_reference_implementations(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (reference / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    history = tmp_path / "history.json"
    for case in map(json.loads, lines):
        history.write_text(json.dumps(case["history"]), encoding="utf-8")
        asked = ["--format", case["system"], "--history", str(history), case["query"]]
        assert run([*WITHOUT, *asked]) == 0
        assert json.loads(capsys.readouterr().out)["prompt"] == case["prompt"]


def test_a_preset_names_its_format(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", "你好", "--no-model", "--model", "诗友"]) == 0
    assert capsys.readouterr().out == "[Round 0]\n问：你好\n答：\n"


def test_the_format_of_a_folder_follows_from_its_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "moss"}', encoding="utf-8")
    arguments = ["inspect", "你好", "--no-model", "--json", "--model", str(tmp_path)]
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out)["format"] == "moss"
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "x"}', encoding="utf-8")
    assert run(arguments) == 2
    assert is_one_sentence(capsys.readouterr().err)


def test_a_system_prompt_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*WITHOUT, "你好", "--format", "moss", "--system", "严肃的助手"]) == 0
    assert "严肃的助手" in json.loads(capsys.readouterr().out)["prompt"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--model", "no-such-preset"], 1),
        (["--format", "no-such-format"], 1),
        (["--format", "chat-template"], 2),
    ],
)
def test_an_unknown_format_is_one_sentence(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", "你好", "--no-model", *arguments]) == code
    said = capsys.readouterr()
    assert said.out == "" and is_one_sentence(said.err)


def test_it_shows_prompt_tokens_and_candidates(chatui: Chatui, tiny: str) -> None:
    asked = ("inspect", "春眠", "--model", tiny, "--format", "shiyou", "--top", "3", "--json")
    done = chatui(*asked)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["prompt"] == "[Round 0]\n问：春眠\n答："
    assert said["notes"] == []
    assert len(said["input_ids"]) == len(said["tokens"]) == 12
    assert said["position_ids"] == list(range(12))
    assert said["context"] == {"used": 12, "limit": 8192, "dropped_rounds": 0}
    assert said["sampling"]["top_k"] == 10
    assert [set(one) for one in said["next"]] == [{"id", "token", "logit", "probability"}] * 3
    probabilities = [one["probability"] for one in said["next"]]
    assert probabilities == sorted(probabilities, reverse=True) and sum(probabilities) <= 1


def test_penalties_and_the_thinking_switch_give_notes(
    chatui: Chatui,
    tiny: str,
    write_settings: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``ask --greedy`` keeps penalties, so its first token may differ from the best one."""
    write_settings("think = false\n[sampling]\nrepetition_penalty = 1.3\n")
    asked = ("inspect", "春眠", "--model", tiny, "--format", "shiyou", "--json")
    switch, penalties = json.loads(chatui(*asked).stdout)["notes"]
    assert "--no-think" in switch
    assert "repetition_penalty = 1.3" in penalties
    assert run(["ask", "--help"]) == 0
    assert "penalties still apply" in " ".join(capsys.readouterr().out.split())


def test_tokens_are_shown_in_several_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    inspect._print(
        Inspection(
            prompt="问：春\n眠",
            input_ids=(44, 46, 5, 67, 6),
            tokens=("问", "：", "春", "\n", "眠"),
            position_ids=((0, 1, 2, 3, 3), (0, 0, 0, 0, 1)),
            context_used=5,
            context_limit=512,
            next=(Candidate(7, " 不", 1.5, 0.25),),
            dropped_rounds=1,
        ),
        SamplingSettings(greedy=True, temperature=0.7, repetition_penalty=1.1),
    )
    assert capsys.readouterr().out.splitlines() == [
        "position  input_ids  tokens  position  input_ids  tokens",
        "0/0       44         '问'    3/0       67         '⏎'",
        "1/0       46         '：'    3/1       6          '眠'",
        "2/0       5          '春'",
        "",
        "inputs",
        "问：春",
        "眠",
        "",
        "context: 5 of 512 tokens, 1 round left out",
        "sampling: repetition_penalty 1.1, greedy",
        "",
        "next  token  logit   probability",
        "7     '␣不'  1.5000  25.0000%",
    ]


def test_escape_sequences_do_not_reach_a_terminal(chatui: Chatui, in_terminal: InTerminal) -> None:
    asked = ("inspect", "春\x1b[31m眠\x9b1m\x07", "--no-model", "--format", "shiyou")
    assert "春\x1b[31m眠\x9b1m\x07" in chatui(*asked).stdout
    shown = in_terminal(*asked)
    assert "春␛[31m眠" in shown
    assert not {"\x1b", "\x9b", "\x07"} & set(shown)
