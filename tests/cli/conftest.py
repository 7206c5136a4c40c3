"""The command as a user runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import tiny_models
from command import Chatui, Completed


@pytest.fixture
def chatui() -> Chatui:
    """Run ``chatui`` with arguments, standard input and environment; its output as UTF-8 text."""

    def run(
        *arguments: str | bytes, stdin: str | bytes = b"", env: Mapping[str, str] | None = None
    ) -> Completed:
        done = subprocess.run(
            [sys.executable, "-m", "chatui", *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env={**os.environ, **(env or {})},
            timeout=120,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run


@pytest.fixture
def write_settings(home: Path) -> Callable[[str], Path]:
    """Write the settings file; its path."""

    def write(text: str) -> Path:
        home.mkdir(parents=True, exist_ok=True)
        file = home / "settings.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of a tiny model with random weights and a long context."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return str(tiny_models.gpt2_chinese(folder, context=8192))
