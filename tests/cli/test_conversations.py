"""``chatui search``, ``history``, ``export`` and ``replay`` of saved conversations."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from command import is_one_sentence

from chatui import locations
from chatui.cli.parser import run
from chatui.conversation.rounds import Piece
from chatui.conversation.store import Store


@pytest.fixture
def saved() -> int:
    """The id of a saved conversation of two rounds with unusual characters."""
    store = Store(locations.database_file())
    conversation = parent = None
    for query, reply in (("春眠", "不觉晓\n处处闻啼鸟"), ("\x1b[31m夜来", "风雨声\ud800")):
        this = store.add_round(conversation, parent, query, model="诗友")
        conversation, parent = this.conversation_id, this.id
        pieces = [Piece(0.1 * (at + 1), text) for at, text in enumerate(reply)]
        store.append_pieces(this.id, pieces)
        store.finish_round(replace(this, state="done", reply=reply, seconds=0.1 * len(reply)))
    store.close()
    assert conversation is not None
    return conversation


def test_search_finds_text_in_conversations(saved: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "闻啼"]) == 0
    assert capsys.readouterr().out.split() == [str(saved), "春眠", "不觉晓", "处处闻啼鸟"]
    assert run(["search", "风雨", "--json"]) == 0
    (hit,) = json.loads(capsys.readouterr().out)
    assert (hit["where"], hit["match"], hit["conversation_id"]) == ("reply", "风雨", saved)


def test_a_search_without_hits_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "没有", "这个"]) == 0
    said = capsys.readouterr()
    assert said.out == "" and "没有 这个" in said.err
    assert run(["search", "没有", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_history_lists_and_changes(saved: int, capsys: pytest.CaptureFixture[str]) -> None:
    def listed(*options: str) -> list[dict[str, object]]:
        assert run(["history", *options, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert run(["history"]) == 0
    table = capsys.readouterr().out
    assert "春眠" in table and "诗友" in table and str(saved) in table
    assert [(one["id"], one["tags"]) for one in listed()] == [(saved, [])]
    changes = ("--pin", "--add-tag", "诗", "--add-tag", "#春")
    (changed,) = listed(str(saved), *changes)
    assert (changed["pinned"], changed["tags"]) == (True, ["诗", "春"])
    assert run(["history"]) == 0
    assert "#诗 #春" in capsys.readouterr().out
    assert len(listed("--tag", "#诗")) == 1 and listed("--tag", "夏") == []
    (changed,) = listed(str(saved), "--unpin", "--remove-tag", "春", "--title", "晓", "--archive")
    assert changed["tags"] == ["诗"] and changed["title"] == "晓" and changed["archived"]
    assert listed() == [] and len(listed("--archived")) == 1
    assert len(listed("all", "--unarchive")) == 1 and len(listed(str(saved))) == 1
    listed(str(saved), "--delete")
    assert listed() == [] and [one["id"] for one in listed("--deleted")] == [saved]
    assert len(listed(str(saved), "--restore")) == 1 == len(listed())


def test_history_reports_wrong_usage(saved: int, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong, code in (
        (["--pin"], 2),
        (["all", "--title", "x"], 2),
        (["x"], 2),
        (["999"], 1),
        (["999", "--restore"], 1),
        ([str(saved), "--add-tag", "长" * 41], 1),
    ):
        assert run(["history", *wrong]) == code
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1
    assert run(["history", "--archived"]) == 0
    assert "chatui import" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--archived"], ["--deleted"]])
def test_a_tag_that_nothing_has_is_named(
    saved: int, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    if "--deleted" in options:
        run(["history", str(saved), "--delete"])
        capsys.readouterr()
    assert run(["history", "--tag", "#夏", *options]) == 0
    said = capsys.readouterr()
    assert said.out == "" and "#夏" in said.err and "import" not in said.err


def test_export_writes_the_last_conversation(
    saved: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export"]) == 0
    markdown = capsys.readouterr().out
    assert markdown.startswith("# 春眠\n") and "> ␛[31m夜来" in markdown
    assert run(["export", str(saved), "--as", "text"]) == 0
    assert "[Round 1]" in capsys.readouterr().out
    for name, start in (("a.md", "# 春眠"), ("a.txt", "春眠"), ("a.json", '{"format"')):
        assert run(["export", "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)


def test_many_conversations_go_into_a_folder_or_into_lines(
    saved: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(locations.database_file())
    other = store.add_round(None, None, "a/b: 月?")
    store.finish_round(replace(other, state="done", reply="c"))
    store.close()
    assert run(["export", "all", "--as", "html", "-o", str(tmp_path / "pages")]) == 0
    names = sorted(file.name for file in (tmp_path / "pages").iterdir())
    assert names == [f"{saved}-春眠.html", f"{other.conversation_id}-a-b-月.html"]
    lines = tmp_path / "x.jsonl"
    ids = [str(saved), str(other.conversation_id)]
    assert run(["export", *ids, "--as", "openai", "-o", str(lines)]) == 0
    first, second = map(json.loads, lines.read_text(encoding="utf-8").splitlines())
    assert [message["content"] for message in second["messages"]] == ["a/b: 月?", "c"]
    assert len(first["messages"]) == 4
    assert run(["export", "all", "--as", "chatglm"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_export_lists_conversations(saved: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "--list"]) == 0
    _, line = capsys.readouterr().out.splitlines()
    assert line.split()[0] == str(saved) and line.split()[-2:] == ["2", "春眠"]
    assert run(["export", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["title"] == "春眠"


def test_an_unknown_ending_is_one_sentence(
    saved: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.pdf"
    assert run(["export", "-o", str(file)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and is_one_sentence(said.err) and "html" in said.err
    assert not file.exists()
    assert run(["export", "--as", "markdown", "-o", str(file)]) == 0
    assert file.read_text(encoding="utf-8").startswith("# 春眠")


@pytest.mark.parametrize("arguments", [[], ["7"], ["9223372036854775807"], ["-o", "/no/such/x"]])
def test_nothing_to_export_is_one_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["export", *arguments]) == 1
    said = capsys.readouterr()
    assert said.out == "" and is_one_sentence(said.err)


class Time:
    """A clock that only ``sleep`` advances."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_replay_has_the_reply_and_its_timing(
    saved: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatui.cli.replay.time", time := Time())
    file = tmp_path / "a.json"
    run(["export", "-o", str(file)])
    assert run(["replay", str(file), "--speed", "4"]) == 0
    shown = capsys.readouterr().out
    assert "> 春眠\n\n不觉晓\n处处闻啼鸟\n" in shown and "风雨声\\ud800\n" in shown
    assert 0.1 * 13 / 4 <= time.now < 1
    time.now = 0.0
    assert run(["replay", str(file), "--speed", "1e9"]) == 0
    assert time.now < 0.01


@pytest.mark.parametrize(
    "content",
    [
        *(None, b"", b"{}", b'{"format": "chatui-tran', b"\xff"),
        b'{"format": "chatui-transcript", "version": 2, "start": 1}\n',
    ],
)
def test_an_invalid_transcript_is_one_sentence(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.json"
    if content is not None:
        file.write_bytes(content)
    assert run(["replay", str(file)]) == 1
    said = capsys.readouterr()
    assert said.out == "" and is_one_sentence(said.err)


def test_a_data_folder_that_is_a_file_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CHATUI_HOME", str(tmp_path / "file"))
    for command in ("search", "x"), ("export",):
        assert run([*command]) == 1
        said = capsys.readouterr()
        assert said.out == "" and is_one_sentence(said.err)
