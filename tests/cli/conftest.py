"""Fixtures that run the command as a process."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import forked_engine
import pytest
import tiny_models
from command import Chatui, Completed, InTerminal


@pytest.fixture
def chatui(engines: None) -> Chatui:
    """Run ``chatui`` with arguments, standard input and environment; returns its output as text."""

    def run(
        *arguments: str | bytes, stdin: str | bytes = b"", env: Mapping[str, str] | None = None
    ) -> Completed:
        given = stdin.encode() if isinstance(stdin, str) else stdin
        done = forked_engine.run_chatui(*arguments, stdin=given, env=env)
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run


@pytest.fixture
def write_settings(home: Path) -> Callable[[str], Path]:
    """Write the settings file and return its path."""

    def write(text: str) -> Path:
        home.mkdir(parents=True, exist_ok=True)
        file = home / "settings.toml"
        file.write_text(text, encoding="utf-8")
        return file

    return write


@pytest.fixture
def in_terminal(engines: None) -> InTerminal:
    """Run ``chatui`` in a pseudo-terminal and return its output."""

    def run(*arguments: str, columns: int = 80) -> str:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        command = [*forked_engine.CHATUI, *arguments]
        env = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
        with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env):
            os.close(slave)
            shown = b""
            # On Linux, reading a terminal without writers is an error.
            with suppress(OSError):
                while block := os.read(master, 4096):
                    shown += block
        os.close(master)
        return shown.decode()

    return run


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of a tiny model with random weights and a long context."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return str(tiny_models.gpt2_chinese(folder, context=8192))
