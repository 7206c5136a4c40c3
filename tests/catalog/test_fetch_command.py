"""``chatui pull`` and ``chatui rm`` on the command line."""

from __future__ import annotations

import io
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import forked_engine
import pytest
import tiny_models
from hub_server import HubServer
from huggingface_hub import close_session, constants
from served_models import NEEDED, pull, serve_file, serve_model

from chatui.catalog.fetching.planning import plan
from chatui.catalog.local_models import hugging_face_snapshot
from chatui.cli.parser import run
from chatui.settings import Settings

WEIGHTS = "model.safetensors"
COMMAND = [sys.executable, "-m", "chatui"]


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kept_bytes(tmp_path: Path) -> int:
    """The size of unfinished downloads, which another process may finish meanwhile."""
    size = 0
    for file in (tmp_path / "hub").rglob("*.incomplete"):
        with suppress(FileNotFoundError):
            size += file.stat().st_size
    return size


def test_a_model_is_pulled_and_answers(
    server: HubServer, tmp_path: Path, engines: None, capsys: pytest.CaptureFixture[str]
) -> None:
    server.add("you/poet", tiny_models.gpt2_chinese(tmp_path / "served"))
    capsys.readouterr()
    assert run(["pull", "you/poet"]) == 0
    pulled = capsys.readouterr()
    assert pulled.err == ""
    assert pulled.out.endswith("Start it with: chatui --model you/poet\n")
    ask = ("ask", "春眠", "--model", "you/poet", "--max-new-tokens", "4")
    answer = forked_engine.run_chatui(*ask)
    assert (answer.returncode, answer.stderr) == (0, b"")
    assert answer.stdout.strip()


def test_a_pipe_gets_plain_lines(
    server: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_model(server, tmp_path)
    server.faults.bytes_per_second = 900_000
    assert run(["pull", "you/model"]) == 0
    done = capsys.readouterr()
    assert done.err == ""
    lines = done.out.splitlines()
    assert re.fullmatch(r"you/model: 8 files, 902\.\d kB from 127\.0\.0\.1:\d+", lines[0])
    progress = re.compile(r"\d+% [\d.]+ k?B of 902\.\d kB(, [\d.]+ [kM]?B/s, \d:\d\d left)?")
    assert 3 < len(lines) < 15
    assert all(progress.fullmatch(line) for line in lines[1:-2])
    assert lines[-3].startswith("100% 902")
    assert re.fullmatch(r"you/model is complete: 902\.\d kB fetched in 0:\d\d, .*B/s\.", lines[-2])
    assert run(["pull", "you/model"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "you/model is complete; nothing was missing.",
        "Start it with: chatui --model you/model",
    ]


def test_a_terminal_gets_one_updated_line(server: HubServer, tmp_path: Path) -> None:
    """On a narrow terminal, the numbers are more important than the bar."""
    import pexpect

    serve_model(server, tmp_path)
    server.faults.bytes_per_second = 20_000
    child = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], "--lang", "zh", "pull", "you/model"],
        dimensions=(24, 60), encoding="utf-8", timeout=60,
        env={key: value for key, value in os.environ.items() if key != "COLUMNS"}
        | {"TERM": "xterm-256color"},
    )  # fmt: skip
    numbers = r"\d\d% [^\r\n━╌]+还需 [\d:]+\r"
    shown = ""
    for columns, line in ((60, f"\x1b\\[K━+╌+ {numbers}"), (47, f"\x1b\\[K{numbers}")):
        child.setwinsize(24, columns)
        child.expect(line)
        shown += child.before + child.after
    server.faults.bytes_per_second = 0
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    shown += child.before
    assert "\x1b[3" not in shown, "no colours"
    drawn = [line for line in shown.split("\r\x1b[K") if "%" in line]
    assert len(drawn) > 3
    assert all("\n" not in line for line in drawn)
    # What stays on the screen after all that was written over.
    left = [line.split("\r\x1b[K")[-1] for line in shown.split("\r\n")]
    assert left[0].startswith("you/model：8 个文件")
    assert left[1].startswith("you/model 已就绪：下载 902")
    assert left[2:] == ["启动：chatui --model you/model", ""]


def test_ctrl_c_keeps_the_received_bytes_and_names_the_next_command(
    server: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = serve_file(server, tmp_path, 3_000_000)
    server.faults.stalled = threading.Event()
    running = started("pull", "you/one", "--mirror", server.url)
    wait_until(lambda: kept_bytes(tmp_path) >= 1_500_000)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=20)
    assert running.returncode == 130
    told = r"Stopped with .* of 3\.0 MB on the disk; `chatui pull you/one --mirror \S+` resumes .*"
    assert re.fullmatch(told, errors.strip())
    assert kept_bytes(tmp_path) >= 1_500_000

    server.faults.stalled.set()
    server.faults.stalled = None
    assert run(["pull", "you/one"]) == 0
    assert "1.5 MB fetched" in capsys.readouterr().out
    folder = hugging_face_snapshot("you/one")
    assert folder is not None
    assert (folder / WEIGHTS).read_bytes() == content


def test_a_killed_pull_is_resumed(
    server: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = serve_file(server, tmp_path, 2_000_000)
    server.faults.stalled = threading.Event()
    running = started("pull", "you/one")
    wait_until(lambda: kept_bytes(tmp_path) >= 1_000_000)
    running.kill()
    running.communicate()
    server.faults.stalled.set()
    server.faults.stalled = None
    assert run(["pull", "you/one"]) == 0
    assert "1.0 MB fetched" in capsys.readouterr().out
    folder = hugging_face_snapshot("you/one")
    assert folder is not None
    assert (folder / WEIGHTS).read_bytes() == content


def test_two_processes_at_once_fetch_each_file_once(server: HubServer, tmp_path: Path) -> None:
    repository = serve_model(server, tmp_path)
    server.faults.bytes_per_second = 450_000
    script = (
        "import sys; from chatui.cli.parser import run; code = run(['pull', 'you/model']);"
        "print([m for m in ('torch', 'transformers', 'textual') if m in sys.modules], code)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as other:
        wait_until(lambda: kept_bytes(tmp_path) > 0)
        assert run(["pull", "you/model"]) == 0
        output, _ = other.communicate(timeout=60)
    assert b"100%" in output and output.endswith(b"[] 0\n"), "nothing heavy is imported"
    assert server.sent == {path: repository.files[path].size for path in NEEDED}


def test_a_disk_that_fills_up_is_one_sentence(
    server: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = serve_file(server, tmp_path, 2_000_000)
    most = 700_000
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        assert run(["pull", "you/one"]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert re.fullmatch(
        r"chatui: The disk of \S+ is full; the received part is kept: free .* again\.\n",
        capsys.readouterr().err,
    )
    assert kept_bytes(tmp_path) == most
    assert plan("you/one", Settings()).kept_bytes >= most
    server.sent.clear()
    assert run(["pull", "you/one"]) == 0
    assert server.sent[WEIGHTS] == len(content) - most


def test_errors_are_one_sentence_and_exit_1(
    server: HubServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serve_model(server, tmp_path, "you/gated").gated = True
    for name, words in {
        "you/gated": "accept them on",
        "you/nothing": "has no repository",
        "诗/友 x": "There is no model called",
        "you/model": "HF_HUB_OFFLINE",
    }.items():
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", name == "you/model")
        assert run(["pull", name]) == 1
        told = capsys.readouterr().err
        assert words in told
        assert told.startswith("chatui: ")
        assert told.count("\n") == 1


def test_a_proxy_is_respected(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_model(server, tmp_path)
    for name, value in {
        "HF_ENDPOINT": "http://hub.invalid",
        "http_proxy": server.url,
        "no_proxy": "",
        "NO_PROXY": "",
    }.items():
        monkeypatch.setenv(name, value)
    close_session()
    try:
        assert run(["pull", "you/model"]) == 0
    finally:
        close_session()
    assert server.sent


def test_rm_asks_and_prints_the_freed_bytes(
    server: HubServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import pexpect

    serve_file(server, tmp_path, 2_000_000)
    assert run(["pull", "you/one"]) == 0
    monkeypatch.setattr(sys, "stdin", typed := io.StringIO("y\n"))
    assert run(["rm", "you/one"]) == 2
    assert "--yes" in capsys.readouterr().err
    monkeypatch.setattr(typed, "isatty", lambda: True)
    for answer in ("n\n", "\n", ""):
        typed.write(answer)
        typed.seek(0)
        assert run(["rm", "you/one"]) == 1
        said = capsys.readouterr()
        assert re.match(r"you/one +2\.0 MB", said.out) and "[y/N] " in said.out
        assert said.err == "Nothing was deleted.\n"
        assert hugging_face_snapshot("you/one")
        typed.seek(0)
        typed.truncate()
    child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], "rm", "you/one"], encoding="utf-8")
    child.expect(r"\[y/N\] ")
    child.sendcontrol("c")
    child.expect(pexpect.EOF)
    child.close()
    assert child.before.endswith("\r\nNothing was deleted.\r\n")
    assert child.exitstatus == 130

    typed.write("y\n")
    typed.seek(0)
    assert run(["rm", "you/one"]) == 0
    assert hugging_face_snapshot("you/one") is None
    assert run(["pull", "you/one"]) == 0
    capsys.readouterr()
    assert run(["rm", "you/one", "--yes"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2.0 MB freed."
    assert run(["rm", "you/one", "--yes"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_rm_refuses_a_model_that_is_being_fetched(
    server: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve_file(server, tmp_path, 3_000_000)
    server.faults.stalled = threading.Event()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(pull, "you/one")
        wait_until(lambda: kept_bytes(tmp_path) > 0)
        assert run(["rm", "you/one", "--yes"]) == 1
        refused = capsys.readouterr()
        assert refused.out == "" and "is being fetched; stop" in refused.err
        server.faults.stalled.set()
        assert running.result()
    assert run(["rm", "you/one", "--yes"]) == 0
