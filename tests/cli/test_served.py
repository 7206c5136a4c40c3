"""``--server``: the command line with a server that runs a tiny model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import Chatui

from chatui.conversation.transcript_reader import read_transcript

sys.path.append(str(Path(__file__).resolve().parents[1] / "backends"))

from tiny_server import TinyServer, make_model, serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    with serving(TinyServer(make_model(tmp_path_factory.mktemp("tiny")))) as running:
        yield running


def test_ask_takes_the_first_model_of_the_server(chatui: Chatui, server: TinyServer) -> None:
    done = chatui("ask", "--server", server.url, "--max-new-tokens", "5", "abc")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) == 5
    assert server.record.bodies[-1]["messages"] == [{"role": "user", "content": "abc"}]


def test_a_reply_that_failed_on_the_server_is_written_and_recorded(
    chatui: Chatui, server: TinyServer, tmp_path: Path
) -> None:
    server.record.clear()
    server.breaks_after = 3
    file = tmp_path / "r.jsonl"
    done = chatui("ask", "--server", server.url, "--json", "--record", str(file), "abc")
    server.breaks_after = 0
    said = json.loads(done.stdout)
    assert done.returncode == 1 and len(said["text"]) == 3
    assert "CUDA out of memory" in said["error"] and said["error"] in done.stderr
    (one,) = read_transcript(file).rounds
    assert (one.state, one.reply, one.error) == ("failed", said["text"], said["error"])
    assert one.seed == said["seed"] == server.record.bodies[-1]["seed"]


def test_a_prompt_format_renders_the_prompt_for_a_server(
    chatui: Chatui, server: TinyServer
) -> None:
    shown = chatui(
        *("inspect", "--server", server.url, "--model", "tiny", "--format", "luotuo", "--json"),
        "写诗",
    )
    assert shown.returncode == 0, shown.stderr
    alone = chatui("inspect", "--no-model", "--format", "luotuo", "--json", "写诗")
    found = json.loads(shown.stdout)
    assert found["prompt"] == json.loads(alone.stdout)["prompt"]
    assert len(found["next"]) == 8 and len(found["input_ids"]) == found["context"]["used"]


def test_inspect_works_with_servers_that_report_less(chatui: Chatui, server: TinyServer) -> None:
    """SGLang and llama-cpp-python report only ids, and no server the ids of candidates."""
    server.tells_pieces = False
    shown = chatui("inspect", "--server", server.url, "--format", "bloomz", "ab")
    server.tells_pieces = True
    assert shown.returncode == 0, shown.stderr
    ids = server.tokenizer.encode("ab")
    rows = shown.stdout.splitlines()
    assert len(ids) == 2 and rows[1].split() == ["0", str(ids[0]), "1", str(ids[1])]
    assert "-1" not in shown.stdout.partition("next")[2].split()


def test_models_lists_servers_and_a_reference_finds_them(
    chatui: Chatui, server: TinyServer, write_settings: Callable[[str], Path]
) -> None:
    write_settings(f'[[servers]]\nname = "gpu"\nurl = "{server.url}"\n')
    listed = chatui("models", "--json")
    entries = {entry["reference"]: entry for entry in json.loads(listed.stdout)}
    assert entries["gpu:tiny"]["usable"] and entries["gpu:tiny"]["kind"] == "server"
    done = chatui("ask", "--model", "gpu:tiny", "--max-new-tokens", "3", "abc")
    assert done.returncode == 0 and len(done.stdout.strip()) == 3


@pytest.mark.parametrize("command", [("models",), ("ask", "你好")])
def test_an_invalid_server_is_one_sentence(chatui: Chatui, command: tuple[str, ...]) -> None:
    for address, words in (
        ("127.0.0.1:1", "No server answers"),
        ("ftp://x", "not a server address"),
    ):
        done = chatui(*command, "--server", address)
        assert done.returncode == 1
        assert words in done.stderr and done.stderr.count("\n") == 1


def test_adapters_on_a_server_are_refused(chatui: Chatui, server: TinyServer) -> None:
    done = chatui("ask", "--server", server.url, "--lora", "x", "你好")
    assert done.returncode == 1 and "Adapters" in done.stderr


def test_a_key_is_written_nowhere(
    chatui: Chatui, server: TinyServer, write_settings: Callable[[str], Path], tmp_path: Path
) -> None:
    """Check transcripts, exports, reports, log and settings; the server repeats the key."""
    key = "sk-very-secret-0123456789"
    settings = write_settings(
        f'[[servers]]\nname = "gpu"\nurl = "{server.url}"\nkey_env = "A_KEY"\n'
    )
    env = {"A_KEY": key, "OPENAI_API_KEY": key}
    model, said = ("--model", "gpu:tiny", "--max-new-tokens", "3"), []
    server.key, server.record.tokens_sent = key, 0
    try:
        file = tmp_path / "talk.jsonl"
        said.append(chatui("ask", *model, "abc", "--record", str(file), "--json", env=env))
        assert said[-1].returncode == 0, said[-1].stderr
        server.refused, server.advice = {"messages"}, f"; your key is {key}"
        failed = tmp_path / "failed.jsonl"
        said.append(chatui("ask", *model, "x", "--record", str(failed), "--debug", env=env))
        assert said[-1].returncode == 1 and "your key is" in said[-1].stderr
        server.refused, server.advice = set(), ""
        said.append(chatui("import", str(file), str(failed), env=env))
        for form in ("markdown", "html", "svg", "transcript", "chatglm"):
            said.append(chatui("export", "all", "--as", form, "-o", str(tmp_path / form), env=env))
            assert said[-1].returncode == 0, said[-1].stderr
        report = ("--model", "gpu:tiny", "--report", str(tmp_path / "report.json"))
        said.append(chatui("replay", str(file), *report, env=env))
        assert said[-1].returncode == 0, said[-1].stderr
        said.append(chatui("models", "--json", env=env))
        said.append(chatui("doctor", env=env))
    finally:
        server.key, server.refused, server.advice = "", set(), ""
    assert f"Bearer {key}" in server.record.headers[-1].values()
    assert not any(key in each.stdout + each.stderr for each in said)
    written = [each for top in (tmp_path, settings.parent) for each in top.rglob("*")]
    texts = {each: each.read_bytes() for each in written if each.is_file()}
    assert file in texts and len(texts) > 8
    assert not [each for each, text in texts.items() if key.encode() in text]
