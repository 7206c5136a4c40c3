"""The whole program in a pseudo-terminal, with the embedded model."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import forked_engine
import psutil
import pytest
from real_terminal import RealTerminal

from chatui import locations
from chatui.conversation.store import Store

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are Unix's"),
    pytest.mark.skipif(
        not (locations.assets_folder() / "shiyou" / "model.safetensors").exists(),
        reason="the embedded model is not in this checkout",
    ),
]

Start = Callable[..., RealTerminal]

ENDLESS = """
name = "endless"
title = { zh = "不停", en = "Endless" }
family = "gpt2"
format = "gpt2-chinese"
base = { asset = "shiyou" }
eos_ids = [1]
[sampling]
top_k = 10
uniform_top_k = true
max_new_tokens = 490
"""
"""The embedded model with an end token that it never generates, so that it can be stopped."""


@pytest.fixture
def start(home: Path, engines: None) -> Iterator[Start]:
    """Start chatui in Chinese, and kill what still runs after the test."""
    (home / "presets").mkdir(parents=True)
    (home / "presets" / "endless.toml").write_text(ENDLESS, encoding="utf-8")
    started: list[RealTerminal] = []

    def run(*options: str, **kwargs: Any) -> RealTerminal:
        kwargs.setdefault("CHATUI_LANG", "zh")
        terminal = RealTerminal((*forked_engine.CHATUI, *options), **kwargs)
        started.append(terminal)
        return terminal

    yield run
    for terminal in started:
        if terminal.child.isalive():
            terminal.kill()


def reply_of(terminal: RealTerminal, author: str, query: str = "") -> str:
    """Return the text below the author's last name, without spaces, or "".

    Args:
        query: the name must be below this query.
    """
    _, found, text = terminal.text.rpartition(f"▌ {query}") if query else ("", "▌", terminal.text)
    # The author's row may also contain the rating marks.
    *_, below = re.split(rf"   {author}(?: {{2}}.*)?\n", text)
    return re.sub(r"\s", "", below.partition("╭")[0]) if found and below != text else ""


def ask_for_a_long_reply(terminal: RealTerminal) -> None:
    terminal.type("春风又绿江南岸")
    terminal.press("enter")
    # The greeting is also below a name.
    terminal.until_shown("▌ 春风又绿江南岸")
    terminal.until(lambda: len(reply_of(terminal, "不停")) > 8)


def test_a_failing_editor_gives_the_terminal_back(start: Start) -> None:
    terminal = start(EDITOR="false", VISUAL="")
    terminal.until_shown("F1")
    terminal.type("\x1bx")
    terminal.until_shown("false")
    terminal.type("还在")
    terminal.until(lambda: "│ 还在" in terminal.text)


def test_talk_stop_quit_and_go_on(start: Start) -> None:
    terminal = start()
    terminal.until_shown("诗友在此")
    terminal.type("写一首七言绝句，题目是《春夜》")
    terminal.until_shown("│ 写一首七言绝句，题目是《春夜》")
    terminal.press("enter")
    terminal.until(
        lambda: "，" in reply_of(terminal, "诗友") and "。" in reply_of(terminal, "诗友")
    )
    terminal.until_shown("token/秒")
    terminal.press("f2")
    terminal.until_shown("endless")
    terminal.type("endless\r")
    terminal.until_shown("不停 · ━")
    ask_for_a_long_reply(terminal)
    terminal.press("escape")
    terminal.until_shown("■ 已停止")
    said = reply_of(terminal, "不停").partition("■")[0]
    assert 8 < len(said) < 490
    terminal.press("ctrl+q")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.raw

    again = start()
    again.until_shown("继续上次的对话：写一首七言绝句")
    again.press("ctrl+o")
    again.until_shown("■ 已停止")
    assert reply_of(again, "不停").partition("■")[0] == said
    again.press("ctrl+b")
    again.until_shown("Ctrl+D 删除")
    again.type("江南")
    again.until(lambda: "春风又绿江南岸" in again.text)
    again.press("escape", "ctrl+q")
    assert again.end() == 0


def test_kill_in_mid_reply_loses_at_most_a_second(start: Start, home: Path) -> None:
    terminal = start("--model", "endless")
    terminal.until_shown("不停 · 上下文")
    ask_for_a_long_reply(terminal)
    # The engine is suspended, so that the reply cannot end before the kill.
    engine = forked_engine.pid_of_fork(terminal.first_child())
    os.kill(engine, signal.SIGSTOP)
    try:
        terminal.read(0.2)
        a_second_ago = reply_of(terminal, "不停")
        terminal.read(1.0)
        assert "■" not in a_second_ago, "the reply ended before the engine stood still"
        terminal.kill()
    finally:
        os.kill(engine, signal.SIGCONT)
    again = start()
    again.until_shown("继续上次的对话：春风又绿江南岸")
    again.press("ctrl+o")
    again.until_shown("■ 中断")
    assert reply_of(again, "不停").startswith(a_second_ago)
    again.press("ctrl+q")
    assert again.end() == 0
    with closing(Store(home / "conversations.db")) as store:
        (conversation,) = store.conversations()
        last = store.rounds(conversation.id)[-1]
    assert last.reply.replace("\n", "").replace(" ", "").startswith(a_second_ago)
    assert last.state == "interrupted"


def test_a_closed_terminal_ends_the_app_without_a_signal(home: Path, engines: None) -> None:
    shell = ("sh", "-c", 'trap "" HUP; "$0" "$@"; true')
    terminal = RealTerminal((*shell, *forked_engine.CHATUI), CHATUI_LANG="zh")
    terminal.until_shown("在这里输入")
    processes = psutil.Process(terminal.child.pid).children(recursive=True)
    assert processes
    terminal.child.ptyproc.fileobj.close()
    _, alive = psutil.wait_procs(processes, timeout=10)
    for process in alive:
        process.kill()
    assert not alive


def test_an_engine_that_dies_takes_no_text_with_it(start: Start) -> None:
    terminal = start("--model", "endless")
    terminal.until_shown("不停 · 上下文")
    ask_for_a_long_reply(terminal)
    os.kill(forked_engine.pid_of_fork(terminal.first_child()), signal.SIGKILL)
    terminal.until_shown("✗")
    said = reply_of(terminal, "不停").partition("✗")[0]
    assert len(said) > 8
    terminal.press("ctrl+r")
    terminal.until_shown("‹ 2/2 ›")
    terminal.until_shown("token/秒")
    assert "✗" not in terminal.text
    terminal.press("escape")
    terminal.until_shown("■")
    idle = terminal.first_child()
    os.kill(forked_engine.pid_of_fork(idle), signal.SIGKILL)
    terminal.type("再来一首")
    terminal.press("enter")
    terminal.until(lambda: len(reply_of(terminal, "不停", "再来一首")) > 8)
    assert "✗" not in reply_of(terminal, "不停", "再来一首")
    assert terminal.first_child() != idle
    terminal.press("escape", "ctrl+q")
    assert terminal.end() == 0


def test_the_cursor_stands_where_an_input_method_needs_it(start: Start) -> None:
    terminal = start()
    terminal.until_shown("诗友在此")
    terminal.type("春眠")
    terminal.until_shown("│ 春眠")
    row = next(n for n, line in enumerate(terminal.screen.display) if "│ 春眠" in line)
    terminal.until(lambda: (terminal.screen.cursor.y, terminal.screen.cursor.x) == (row, 3 + 4))
    terminal.press("ctrl+j")
    terminal.type("不觉晓a")
    terminal.until_shown("│ 不觉晓a")
    # The box has grown upwards; its last row has not moved.
    terminal.until(lambda: (terminal.screen.cursor.y, terminal.screen.cursor.x) == (row, 3 + 7))
    terminal.resize(60, 16)
    terminal.until(lambda: (terminal.screen.cursor.y, terminal.screen.cursor.x) == (13, 2 + 7))


def test_a_megabyte_can_be_pasted(start: Start) -> None:
    terminal = start()
    terminal.until_shown("/512")
    started = time.monotonic()
    terminal.paste("春眠不觉晓，处处闻啼鸟。\n" * 27_000)
    terminal.until_shown("粘贴的文字 1：351,000 字")
    terminal.type("abc")
    terminal.until_shown("字]abc")
    assert time.monotonic() - started < 15
    terminal.press("enter")
    terminal.until_shown("✗")
    assert "512" in terminal.text.rpartition("✗")[2]
    assert "Traceback" not in terminal.raw
    terminal.press("up")
    terminal.until_shown("粘贴的文字 1：351,003 字")
    terminal.press("ctrl+q")
    assert terminal.end() == 0


def test_pasted_escape_sequences_do_not_reach_the_terminal(start: Start) -> None:
    terminal = start()
    terminal.until_shown("诗友在此")
    terminal.paste("\x1b]0;owned\x07 \x1b[2J\x1b[31mred [bold]b[/bold]")
    terminal.until_shown("red [bold]b[/bold]")
    terminal.press("enter")
    terminal.until_shown("▌")
    assert "\x1b]0;owned" not in terminal.raw
    assert "[bold]b[/bold]" in terminal.text
    terminal.press("ctrl+q")
    assert terminal.end() == 0


@pytest.mark.parametrize("size", [(20, 5), (8, 3)])
def test_a_tiny_terminal(start: Start, size: tuple[int, int]) -> None:
    terminal = start(columns=size[0], rows=size[1])
    terminal.until_shown("诗友")
    terminal.type("hi")
    terminal.until_shown("hi")
    terminal.press("f1", "escape", "ctrl+q")
    assert terminal.end() == 0
    assert "Traceback" not in terminal.raw
