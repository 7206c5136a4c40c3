"""``chatui ask`` as a process, with real weights."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import forked_engine
import psutil
import pytest
from command import Chatui, is_one_sentence

from chatui import locations
from chatui.cli.parser import run
from chatui.conversation.rounds import RenderedPrompt
from chatui.conversation.transcript_reader import read_transcript

ENDLESS = ("ask", "春眠", "--format", "gpt2-chinese", "--greedy", "--max-new-tokens", "8000")
FIELDS = (
    "text",
    "output_ids",
    "finish_reason",
    "seed",
    "prompt_tokens",
    "output_tokens",
    "timings",
    "model",
    "format",
    "prompt",
    "dropped_rounds",
    "context_limit",
)


def test_json_has_all_fields_and_its_seed_repeats_the_text(chatui: Chatui, tiny: str) -> None:
    ask = ("--model", tiny, "--format", "shiyou", "--max-new-tokens", "30")
    done = chatui("ask", "-", *ask, "--json", stdin="\ufeff春眠\n")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert tuple(said) == FIELDS
    assert said["prompt"] == "[Round 0]\n问：春眠\n答："
    assert (said["format"], said["model"], said["context_limit"]) == ("shiyou", "tiny", 8192)
    assert said["output_tokens"] == len(said["output_ids"]) and said["prompt_tokens"] == 12
    assert said["finish_reason"] in ("eos", "stop", "length")
    assert said["timings"]["load"] > 0
    assert 0 < said["timings"]["first_token"] <= said["timings"]["total"]

    again = chatui("ask", "春眠", *ask, "--seed", str(said["seed"]))
    assert (again.returncode, again.stdout, again.stderr) == (0, said["text"] + "\n", "")


def test_a_record_has_the_reply_and_its_settings(chatui: Chatui, tiny: str, tmp_path: Path) -> None:
    history, file = tmp_path / "history.json", tmp_path / "r.jsonl"
    history.write_text('[["早", "好"]]', encoding="utf-8")
    ask = ("--model", tiny, "--format", "shiyou", "--max-new-tokens", "12", "--seed", "3")
    more = ("--history", str(history), "--record", str(file), "--json")
    done = chatui("ask", "春眠", *ask, *more)
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    read = read_transcript(file)
    earlier, one = read.rounds
    assert (earlier.query, earlier.reply, one.parent_id) == ("早", "好", 1)
    assert (one.query, one.reply, one.seed, one.state) == ("春眠", said["text"], 3, "done")
    assert (one.model, one.format, one.finish_reason) == ("tiny", "shiyou", said["finish_reason"])
    assert (one.prompt_tokens, one.output_tokens) == (said["prompt_tokens"], said["output_tokens"])
    ids = [piece.token_id for piece in read.pieces[2]]
    assert ids == said["output_ids"][: len(ids)] and len(ids) >= len(said["output_ids"]) - 1
    (model,) = read.others
    assert model["weights"].startswith("sha256:") and "torch" in model["libraries"]
    assert read.prompts[2].hash == RenderedPrompt(said["prompt"]).mark().hash
    # Nothing is written over, and nothing is loaded for that.
    again = chatui("ask", "春眠", *ask, "--record", str(file))
    assert again.returncode == 1 and is_one_sentence(again.stderr) and again.stdout == ""
    assert read_transcript(file) == read
    # The record goes on as a history.
    on = chatui("ask", "再来", *ask, "--history", str(file), "--json")
    assert said["text"] in json.loads(on.stdout)["prompt"]


def test_rerun_of_a_record_gives_the_same_tokens(chatui: Chatui, tiny: str, tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    ask = ("--model", tiny, "--format", "shiyou", "--max-new-tokens", "12", "--seed", "3")
    assert chatui("ask", "春眠", *ask, "--record", str(file)).returncode == 0
    rerun = ("replay", str(file), "--rerun", "--model", tiny, "--format", "shiyou", "--lang", "en")
    same = chatui(*rerun)
    assert (same.returncode, same.stderr) == (0, "")
    assert "1 reply is the same as recorded." in same.stdout
    events = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    (model,) = [event for event in events if event.get("type") == "model"]
    model["dtype"] = "bfloat16"
    token = [event for event in events if event.get("type") == "token"][4]
    token["id"] += 1
    file.write_text("\n".join(map(json.dumps, events)) + "\n", encoding="utf-8")
    other = chatui(*rerun)
    assert (other.returncode, other.stderr) == (3, "")
    assert "round 1: differs from token 5 on" in other.stdout
    assert "dtype: “bfloat16” before, “float32” now" in other.stdout
    # Without ids there is nothing to compare.
    for event in events:
        event.pop("id", None)
    file.write_text("\n".join(map(json.dumps, events)) + "\n", encoding="utf-8")
    none = chatui(*rerun)
    assert none.returncode == 1 and is_one_sentence(none.stderr)


def test_invalid_bytes_and_escape_sequences_can_be_a_query(chatui: Chatui, tiny: str) -> None:
    query = b"\xe6\x98\xa5\xff\x1b[31m\xe7\x9c\xa0\x1b]0;x\x07[bold]"
    ask = ("--model", tiny, "--format", "shiyou", "--greedy", "--max-new-tokens", "5", "--json")
    done = chatui("ask", query, *ask)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "春\udcff\x1b[31m眠\x1b]0;x\x07[bold]" in json.loads(done.stdout)["prompt"]


@pytest.mark.parametrize("damage", ["no weights", "no config", "truncated"])
def test_a_broken_model_is_one_sentence(
    damage: str, chatui: Chatui, tiny: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    weights = folder / "model.safetensors"
    if damage == "no weights":
        weights.unlink()
    elif damage == "no config":
        (folder / "config.json").write_text("{")
    else:
        weights.write_bytes(weights.read_bytes()[:-1000])
    done = chatui("ask", "春眠", "--model", str(folder))
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_sentence(done.stderr), done.stderr


@pytest.mark.parametrize("model", ["no-such-model", "no/such", "/no/such/folder", "坏 名字", ".."])
def test_a_missing_model_is_one_sentence(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "春眠", "--model", model]) == 1
    said = capsys.readouterr()
    assert said.out == "" and is_one_sentence(said.err), said.err


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "春眠", "--model", "no-such-model", "--debug"]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said and "ChatuiError" in said


def test_a_bug_goes_to_the_log_and_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from chatui import catalog

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("deep\ninside")

    monkeypatch.setattr(catalog, "resolve", broken)
    assert run(["ask", "春眠"]) == 1
    said = capsys.readouterr().err
    assert is_one_sentence(said) and "ZeroDivisionError: deep" in said
    assert "Traceback" in locations.log_file().read_text(encoding="utf-8")


# Ended before its time

Process = subprocess.Popen[bytes]
Start = Callable[..., Process]


@pytest.fixture
def start(tiny: str, engines: None) -> Iterator[Start]:
    """Start an endless reply with more arguments; ended after the test."""
    processes: list[Process] = []

    def begin(*arguments: str) -> Process:
        command = [*forked_engine.CHATUI, *ENDLESS, "--model", tiny, *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def engines_of(process: Process) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def are_gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=20)[1]


def test_ctrl_c_keeps_the_text_and_exits_130(start: Start) -> None:
    process = start()
    assert process.stdout is not None
    first = process.stdout.read(3)
    engines = engines_of(process)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"")
    assert (first + rest).decode().endswith("\n")
    assert engines and are_gone(engines)


def test_ctrl_c_with_json_and_a_history_too_long(start: Start, tmp_path: Path) -> None:
    history = tmp_path / "history.json"
    history.write_text(json.dumps([["春" * 900, "眠" * 900]] * 6), encoding="utf-8")
    process = start("--json", "--history", str(history), "--format", "shiyou")
    assert process.stderr is not None
    # It is told before the reply begins.
    told = process.stderr.readline().decode()
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"")
    said = json.loads(out)
    assert tuple(said) == FIELDS and said["finish_reason"] == "cancelled"
    assert said["dropped_rounds"] > 0 and f"{said['dropped_rounds']} oldest rounds" in told
    assert said["prompt"].count("[Round") == 7 - said["dropped_rounds"]


def test_ctrl_c_while_the_model_loads(start: Start) -> None:
    process = start()
    while not (engines := engines_of(process)):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert (process.returncode, out, errors) == (130, b"", b"")
    assert are_gone(engines)


def test_a_kill_leaves_no_engine_behind(start: Start) -> None:
    process = start()
    assert process.stdout is not None
    process.stdout.read(3)
    engines = engines_of(process)
    process.kill()
    assert engines and are_gone(engines)


def test_a_closed_pipe_ends_the_reply_quietly(start: Start) -> None:
    process = start()
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(3)
    engines = engines_of(process)
    process.stdout.close()
    assert (process.wait(timeout=30), process.stderr.read()) == (0, b"")
    assert engines and are_gone(engines)
