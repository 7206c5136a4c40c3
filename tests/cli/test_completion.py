"""``chatui completion`` and ``chatui man``, checked by the shells and groff."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from chatui.cli.parser import run

SHELLS = ("bash", "zsh", "fish")


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(["--lang", "en", "completion", shell]) == 0
    file = folder / shell
    file.write_text(capsys.readouterr().out)
    return file


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_reads_its_script(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = script(shell, tmp_path, capsys)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", file], check=True)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["ins"], {"inspect"}),
        (["ask", "--temp"], {"--temperature"}),
        (["ask", "--model", "chatglm-6b-int"], {"chatglm-6b-int4", "chatglm-6b-int8"}),
        (["pull", "chinese-alpaca-33b-p"], {"chinese-alpaca-33b-plus", "chinese-alpaca-33b-pro"}),
        (["completion", ""], set(SHELLS)),
        (["ask", "--history", "wo"], {"world.json"}),
    ],
)
def test_bash_completes(
    typed: list[str], offered: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = script("bash", tmp_path, capsys)
    (tmp_path / "world.json").touch()
    words = " ".join(f"'{word}'" for word in ("chatui", *typed))
    asked = f"COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _shtab_chatui"
    done = subprocess.run(
        ["bash", "-c", f'source {file}; {asked}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == offered, done.stderr


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_man_page_has_every_command(language: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--lang", language, "man"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(".TH") and ".B chatui\n" in page
    for command in ("ask", "inspect", "pull"):
        assert f"chatui {command}" in page
    if shutil.which("groff"):
        subprocess.run(["groff", "-man", "-Tutf8", "-Kutf8"], input=page.encode(), check=True)
