"""Ctrl+C between any two statements of a command: one sentence at most, and exit code 130."""

from __future__ import annotations

import io
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from chatui import cli
from chatui.catalog.places import hugging_face_cache, in_hugging_face

PACKAGE = str(Path(cli.__file__).parent)
ENDS = (cli.main.__code__, cli._run.__code__)


def interrupted(monkeypatch: pytest.MonkeyPatch, command: list[str], at: int) -> tuple[int, int]:
    """Run a command with Ctrl+C before the ``at``-th line of ``chatui.cli``.

    Returns:
        Its exit code, and how many lines were run by then.
    """
    lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(PACKAGE) or frame.f_code in ENDS:
            return None
        if event == "line":
            lines += 1
            if lines == at:
                raise KeyboardInterrupt
        return trace

    monkeypatch.setattr(sys, "argv", ["chatui", *command])
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return cli.main(), lines
    finally:
        sys.settrace(before)
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [False, True])
def test_rm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    folder = hugging_face_cache() / "models--you--one" / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b" " * 9)
    (folder / "config.json").write_text("{}")
    at, code = 0, 130
    while code == 130:
        at += 1
        monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
        code, lines = interrupted(monkeypatch, ["rm", "you/one"], at)
        said = capsys.readouterr()
        assert said.err in ("", "Nothing was deleted.\n"), (at, said)
        assert in_hugging_face("you/one")
    print(at, lines)
    assert (code, lines) == (1, at - 1) and said.err
