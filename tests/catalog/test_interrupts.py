"""Ctrl+C at each line of ``pull`` and ``rm``: at most one sentence and exit code 130."""

from __future__ import annotations

import argparse
import io
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hub_server import HubServer
from served_models import serve_file

from chatui import cli
from chatui.catalog.local_models import hugging_face_snapshot
from chatui.cli import downloads, parser
from chatui.cli.exit_codes import run_command

TRACED = {
    str(Path(cli.__file__).with_name(name)) for name in ("output.py", "progress.py", "downloads.py")
}


def interrupted(run: Callable[[], int]) -> Iterator[int]:
    """Run a command with Ctrl+C before each of its lines, then without; yield the exit codes."""
    at = lines = 0

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        nonlocal lines
        if frame.f_code.co_filename not in TRACED:
            return None
        lines += event == "line"
        if event == "line" and lines == at:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    while lines >= at:
        at, lines = at + 1, 0
        sys.settrace(trace)
        try:
            code = run_command(run)
        finally:
            sys.settrace(before)
        yield code


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_ctrl_c_at_every_line(
    server: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    serve_file(server, tmp_path, 2000)
    args = argparse.Namespace(name="you/one", source=None, mirror="", yes=False)
    codes = []
    for code in interrupted(lambda: downloads.pull(args)):
        told = capsys.readouterr().err
        assert not told or (told.startswith("Stopped ") and told.count("\n") == 1)
        codes.append(code)
    assert len(codes) > 40 and set(codes[:-1]) == {130} and codes[-1] == 0

    def ask() -> int:
        monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
        return downloads.rm(args)

    codes = []
    for code in interrupted(ask):
        said = capsys.readouterr()
        assert said.err in ("", "Nothing was deleted.\n")
        assert not said.out or said.out.endswith(("\n", "[y/N] "))
        assert hugging_face_snapshot("you/one")
        codes.append(code)
    assert len(codes) > 20 and set(codes[:-1]) == {130} and codes[-1] == 1


def test_ctrl_c_before_a_verb_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def press() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(parser, "run", press)
    try:
        assert cli.main() == 130
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL, "Python's end tells nothing"
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
