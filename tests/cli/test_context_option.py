"""``--context`` and the setting of the same name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Chatui

from chatui.cli.parser import run


@pytest.mark.parametrize("window", ["0", "-5", "many", "1.5", "99999999999"])
def test_a_window_that_is_none(window: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "春", f"--context={window}"]) == 2
    said = capsys.readouterr().err
    assert window in said and said.count("\n") == 1


@pytest.mark.parametrize("window", ["0", '"many"', "true", "[1]"])
def test_a_setting_that_is_none(
    window: str, write_settings: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(f"context = {window}")
    assert run(["ask", "春"]) == 1
    said = capsys.readouterr().err
    assert "context" in said and said.count("\n") == 1


def test_inspect_counts_by_the_window(chatui: Chatui) -> None:
    done = chatui("inspect", "春夜", "--context", "100", "--json")
    assert json.loads(done.stdout)["context"]["limit"] == 100
    # More than the model has: its own window, and one sentence.
    done = chatui("inspect", "春夜", "--context", "100000000", "--json")
    assert json.loads(done.stdout)["context"]["limit"] == 512
    assert done.stderr.count("\n") == 1 and "100000000" in done.stderr
