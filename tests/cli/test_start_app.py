"""``chatui`` without a verb, where there is no terminal; the app itself is tested in tests/tui."""

from __future__ import annotations

from command import Chatui, is_one_sentence


def test_without_a_terminal_it_says_what_to_do(chatui: Chatui) -> None:
    done = chatui()
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_sentence(done.stderr) and "chatui ask" in done.stderr
