"""Pastes from the terminal, through the parser of the driver."""

from __future__ import annotations

import os
import pty
import sys
from typing import Any

import pytest
from textual import events

from chatui.tui.terminal_input import TerminalInput

HOSTILE = "红\x1b[31m字\x1b]0;owned\x07 \x00 \x1b[2J\x11\x0e\r\n\x1b[200~ [bold]b[/bold]\x1b"


def keys_and_pastes(parser: TerminalInput, *reads: str) -> list[str]:
    found = [message for read in reads for message in parser.feed(read)]
    return [
        message.text if isinstance(message, events.Paste) else message.key
        for message in found
        if isinstance(message, events.Paste | events.Key)
    ]


def test_a_paste_is_not_read_as_keys() -> None:
    sent = f"a\x1b[200~{HOSTILE}\x1b[201~b\x1b[A"
    assert keys_and_pastes(TerminalInput(), sent) == ["a", HOSTILE, "b", "up"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7])
def test_paste_marks_may_be_split(size: int) -> None:
    sent = f"a\x1b[200~{HOSTILE}\x1b[201~b\x1b[200~c\x1b[201~"
    reads = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert keys_and_pastes(TerminalInput(), *reads) == ["a", HOSTILE, "b", "c"]


def test_a_megabyte_is_pasted_as_one_event() -> None:
    text = "春眠不觉晓\x1b[0m\n" * 100_000
    sent = f"\x1b[200~{text}\x1b[201~"
    reads = [sent[at : at + 4096] for at in range(0, len(sent), 4096)]
    assert keys_and_pastes(TerminalInput(), *reads) == [text]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pseudo-terminal")
async def test_the_apps_driver_uses_the_parser(drive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from textual.drivers.linux_driver import LinuxDriver

    async with drive() as on:
        theirs, ours = pty.openpty()
        driver = LinuxDriver(on.app)
        driver.fileno = ours
        taken: list[Any] = []

        def take(message: Any) -> None:
            taken.append(message)
            driver.exit_event.set()

        monkeypatch.setattr(driver, "process_message", take)
        os.write(theirs, f"\x1b[200~{HOSTILE[:20]}\x1b[201~\n".encode())
        driver.run_input_thread()
        os.close(theirs)
        os.close(ours)
    assert isinstance(taken[0], events.Paste)
    assert "\x1b[31m字" in taken[0].text


async def test_a_search_box_shows_control_characters(drive: Any) -> None:
    async with drive() as on:
        await on.pilot.press("ctrl+b")
        on.app.post_message(events.Paste("a\x1b[31mb\nc\u202ed"))
        await on.pilot.pause()
        await on.pilot.pause()
        assert on.app.focused.value == "a␛[31mb c\ufffdd"
