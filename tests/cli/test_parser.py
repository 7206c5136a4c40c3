"""Options, help, imports at the start, and reports of wrong usage."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
from command import Chatui, is_one_sentence
from rich.cells import cell_len

from chatui import __version__
from chatui.cli import parser
from chatui.cli.commands import COMMANDS
from chatui.cli.dataset import PAIR_RECORDS
from chatui.cli.parser import run
from chatui.conversation.export_formats import EXPORT_FORMATS
from chatui.engine.examples.example_files import FileFormat

PROMPT = "inspect 春 --no-model --format shiyou"
HEAVY = ("torch", "transformers", "textual", "pydantic", "openai", "huggingface_hub")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"chatui {__version__}\n"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_help_in_both_languages(
    language: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for command in ((), *((command,) for command in COMMANDS)):
        assert run(["--lang", language, *command, "--help"]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        assert ("用法：" in said.out, "usage: " in said.out) == (language == "zh", language == "en")
        assert "\x1b" not in said.out
        _, _, body = said.out.partition("\n\n")
        assert all(cell_len(line) < 80 for line in body.splitlines()), command
        if language == "zh":
            words = re.sub("chatui completion [a-z]+", "", said.out)
            assert not re.search("[a-z]{3,} [a-z]{2,} [a-z]{2,}", words), command


def test_commands_without_weights_import_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from chatui.cli.parser import run\n"
        f"for command in ('--help', 'ask --help', {PROMPT!r}, 'models'):\n"
        "    assert run(command.split()) == 0\n"
        f"    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n" * 4


WRONG = (
    ["bogus"],
    ["--bogus"],
    ["ask", "hi", "more"],
    ["ask", "hi", "--top-p", "0"],
    ["ask", "hi", "--top-p", "1.1"],
    ["ask", "hi", "--temperature", "-1"],
    ["ask", "hi", "--temperature", "nan"],
    ["ask", "hi", "--top-k", "1.5"],
    ["ask", "hi", "--seed", "-1"],
    ["ask", "hi", "--max-new-tokens", "0"],
    ["ask", "hi", "--repetition-penalty", "0"],
    ["ask", "hi", "--model"],
    ["ask", "hi", "--lora", "@2"],
    ["ask", "hi", "--encoding", "rot13"],
    ["ask", "hi", "--encoding", ""],
    ["inspect", "hi", "--encoding", "utf-88"],
    ["ask", ""],
    ["ask", " \n\t "],
    ["inspect", " "],
    ["search", " "],
    ["tune", "a", "-o", "b", "--learning-rate", "much"],
    ["tune", "a", "-o", "b", "--learning-rate", "nan"],
    ["tune", "a", "-o", "b", "--learning-rate", "0"],
    ["--lang", "fr"],
)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_wrong_usage_is_one_line_and_exit_2(
    language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in WRONG:
        assert run(["--lang", language, *arguments]) == 2, arguments
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("chatui") and said.err.count("\n") == 1, said.err
        if language == "zh" and arguments[0] != "--lang":
            assert not re.search("[a-z]{3,} [a-z]{2,} [a-z]{2,}", said.err.partition("（见")[0])


def test_wrong_usage_in_chinese_is_chinese(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--lang", "zh", "ask", "hi", "--top-k", "many"])
    said = capsys.readouterr().err
    # Python 3.10 has no translation for the word before the option.
    assert re.fullmatch(
        r"chatui ask：.+ --top-k(：|: )“many” 不是整数（见 chatui ask --help）\n", said
    )


def test_no_command_is_imported_for_its_help() -> None:
    code = (
        "import sys\n"
        "from chatui.cli.parser import run\n"
        "run(['--help'])\n"
        "before = set(sys.modules)\n"
        f"for command in {[*COMMANDS]}:\n"
        "    assert run([command, '--help']) == 0\n"
        "print(*set(sys.modules) - before, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "\n"


def test_every_command_and_format_can_be_chosen() -> None:
    """The table of the commands names functions and formats that it does not import."""
    for command in COMMANDS.values():
        module, _, name = command.run.partition(".")
        assert callable(getattr(import_module(f"chatui.cli.{module}"), name))
    chosen = {
        name: set(option.more["choices"])
        for name, command in COMMANDS.items()
        for option in command.options
        if "--as" in option.names
    }
    assert chosen["export"] == {format.name for format in EXPORT_FORMATS}
    assert chosen["dataset"] == {*get_args(FileFormat), *PAIR_RECORDS}


def test_the_settings_choose_the_language(
    capsys: pytest.CaptureFixture[str], write_settings: Callable[[str], Path]
) -> None:
    write_settings('language = "zh"')
    run(["--help"])
    assert "用法：" in capsys.readouterr().out
    run(["--lang", "en", "--help"])
    assert "usage: " in capsys.readouterr().out


def test_options_work_before_and_after_the_command() -> None:
    build = parser.build(["ask"])
    before = build.parse_args(["--model", "a", "--lora", "x@0.5", "ask", "hi"])
    after = build.parse_args(["--model", "a", "ask", "hi", "--model", "b", "--debug"])
    assert (before.model, before.lora[0].path, before.lora[0].scale) == ("a", "x", 0.5)
    assert (after.model, after.debug, after.lora) == ("b", True, None)


def test_a_closed_standard_output_is_no_traceback() -> None:
    command = f"{sys.executable} -m chatui --help >&-; echo $?"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize("where", ["| head -1", "| true"])
def test_a_closed_pipe_ends_quietly(where: str) -> None:
    command = f"set -o pipefail; {sys.executable} -m chatui {PROMPT} {where}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_behind_the_output_is_one_sentence() -> None:
    command = f"{sys.executable} -m chatui {PROMPT} > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("chatui: ") and done.stderr.count("\n") == 1


def test_a_poor_locale_does_not_crash() -> None:
    env = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "chatui", "--lang", "zh", *PROMPT.split()]
    done = subprocess.run(command, capture_output=True, env=env)
    assert done.returncode == 0 and done.stderr == b""
    assert b"\\u" in done.stdout


def test_without_a_terminal_the_error_names_ask(chatui: Chatui) -> None:
    done = chatui()
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_sentence(done.stderr) and "chatui ask" in done.stderr


@pytest.mark.parametrize("window", ["0", "-5", "many", "1.5", "99999999999"])
def test_invalid_context_options(window: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "春", f"--context={window}"]) == 2
    said = capsys.readouterr().err
    assert window in said and said.count("\n") == 1


@pytest.mark.parametrize("window", ["0", '"many"', "true", "[1]"])
def test_invalid_context_settings(
    window: str, write_settings: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(f"context = {window}")
    assert run(["ask", "春"]) == 1
    said = capsys.readouterr().err
    assert "context" in said and said.count("\n") == 1


def test_inspect_uses_the_context_option(chatui: Chatui) -> None:
    done = chatui("inspect", "春夜", "--context", "100", "--json")
    assert json.loads(done.stdout)["context"]["limit"] == 100
    # More than the model has: its own window, and one sentence.
    done = chatui("inspect", "春夜", "--context", "100000000", "--json")
    assert json.loads(done.stdout)["context"]["limit"] == 512
    assert done.stderr.count("\n") == 1 and "100000000" in done.stderr
