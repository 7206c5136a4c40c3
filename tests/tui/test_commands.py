"""Slash commands, their completion, the command palette, and the user's prompts."""

from __future__ import annotations

import os
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from saved_conversations import add_conversation
from textual.actions import parse
from textual.widgets import Input

from chatui import locations
from chatui.conversation.store import Store
from chatui.locales import say
from chatui.tui import app as app_module
from chatui.tui import commands
from chatui.tui.app import ChatApp
from chatui.tui.screens.help import HelpScreen
from chatui.tui.screens.picker import CommandPaletteScreen, ConversationPicker, ExportFormatPicker
from chatui.tui.screens.questions import LineQuestion
from chatui.tui.widgets.completion_list import CompletionList

CLIPBOARD_COMMAND = app_module.clipboard_command


def prompt_file(name: str, data: bytes) -> None:
    folder = locations.config_folder() / "prompts"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def format_picker_shown(on: Any) -> bool:
    screen = on.app.screen
    return isinstance(screen, ExportFormatPicker) and bool(screen.shown)


def test_every_command_has_an_action_and_a_description(drive: Any) -> None:
    from chatui.tui.app import ChatApp
    from chatui.tui.screens.chat import ChatScreen

    for command in commands.COMMANDS:
        assert command.description
        owner: type = ChatApp if command.action.startswith("app.") else ChatScreen
        _, name, parameters = parse(command.action)
        text = ("text",) if command.takes_argument else ()
        signature(getattr(owner, f"action_{name}")).bind(None, *parameters, *text)


async def test_a_command_is_completed_and_run(drive: Any) -> None:
    async with drive() as on:
        await on.pilot.press("/", "h", "e")
        await on.until(lambda: "/help" in on.screen_text)
        await on.pilot.press("enter")
        await on.until(lambda: isinstance(on.app.screen, HelpScreen))
        await on.pilot.press("escape")
        assert on.box.query_text == ""
        assert on.backend.requests == []


async def test_tab_completes_arrows_choose_and_esc_hides(drive: Any) -> None:
    async with drive() as on:
        await on.pilot.press("/", "c")
        names = [command.name for command in on.box.completions.commands]
        assert names == [each.name for each in commands.COMMANDS if each.name.startswith("c")]
        await on.pilot.press("down", "tab")
        assert on.box.query_text == f"/{names[1]}"
        await on.pilot.press("backspace")
        assert on.box.completions
        await on.pilot.click(CompletionList, offset=(1, 0))
        await on.until(lambda: on.box.query_text == f"/{names[1]}")
        await on.pilot.press("backspace", "escape")
        assert not on.box.completions
        assert on.box.query_text == f"/{names[1][:-1]}"


async def test_an_unknown_command_is_sent_as_a_query(drive: Any) -> None:
    async with drive() as on:
        await on.ask("/usr/bin 是什么？\n请说明")
        assert on.backend.requests[-1].query == "/usr/bin 是什么？\n请说明"
        assert len(on.notices) == 1
        await on.ask("/help me please")
        assert on.backend.requests[-1].query == "/help me please"
        await on.send("/s 春")
        await on.until(lambda: on.box.query_text == "/s 春")
        assert "/seed, /save, /search" in on.notices[-1] and len(on.backend.requests) == 2


async def test_temperature_and_seed_belong_to_the_conversation_and_are_recorded(drive: Any) -> None:
    async with drive() as on:
        await on.send("/temp 0.3")
        await on.send("/seed 7")
        await on.ask("甲")
        assert on.backend.requests[-1].sampling.temperature == 0.3
        assert on.backend.requests[-1].sampling.seed == 7
        assert on.rounds[0].sampling["temperature"] == 0.3
        await on.send("/seed preset")
        await on.ask("乙")
        assert on.backend.requests[-1].sampling.seed is None
        here = on.rounds[0].conversation_id
        await on.pilot.press("ctrl+n")
        await on.ask("丙")
        assert on.backend.requests[-1].sampling == on.app.turns.spec.sampling
        await on.app.screen.open_conversation(here)
        await on.ask("丁")
        assert on.backend.requests[-1].sampling.temperature == 0.3


async def test_a_setting_without_a_value_tells_the_current_one_and_its_range(drive: Any) -> None:
    async with drive() as on:
        await on.send("/temp")
        await on.until(lambda: on.notices)
        preset = f"{on.app.turns.spec.sampling.temperature:g}"
        words = f"temperature is {preset} (as in the preset). It can be a number from 0 to 100."
        assert on.notices == [words]
        await on.send("/temp 0.5")
        await on.send("/temp")
        await on.until(lambda: "is 0.5 (set in this conversation)" in on.notices[-1])
        await on.send("/seed 1234567890")
        await on.until(lambda: "seed is 1234567890 in this conversation" in on.notices[-1])


async def test_a_wrong_number_is_refused_and_changes_nothing(drive: Any) -> None:
    async with drive() as on:
        for number, words in enumerate(("x", "nan", "-1", "1e999"), 1):
            await on.send(f"/temp {words}")
            await on.until(lambda number=number: len(on.notices) == number)
            assert "temperature" in on.notices[-1]
        await on.ask("甲")
        assert on.backend.requests[-1].sampling == on.app.turns.spec.sampling


async def test_the_system_prompt_is_set_by_command_or_edited_in_the_box(drive: Any) -> None:
    async with drive() as on:
        await on.send("/system 你是一位诗人。\n只用七言。")
        await on.ask("甲")
        assert on.backend.requests[-1].system == "你是一位诗人。\n只用七言。"
        await on.send("/system")
        await on.pilot.pause()
        assert on.box.query_text == "你是一位诗人。\n只用七言。"
        await on.pilot.press("!", "enter")
        await on.ask("乙")
        assert on.backend.requests[-1].system == "你是一位诗人。\n只用七言。!"
        assert on.rounds[-1].sampling["system"] == on.backend.requests[-1].system
        await on.send("/system preset")
        await on.ask("丙")
        assert on.backend.requests[-1].system is None


async def test_the_palette_finds_commands_by_pinyin(drive: Any) -> None:
    async with drive(language="zh") as on:
        await on.pilot.press("ctrl+p")
        screen = on.app.screen
        assert isinstance(screen, CommandPaletteScreen)
        await on.pilot.press(*"qiehuan")
        await on.until(lambda: [each.name for each in screen.shown] == ["model"])
        await on.pilot.press(*["backspace"] * 7, *"dcdh")
        await on.until(lambda: [each.name for each in screen.shown] == ["export"])
        await on.pilot.press("escape")


async def test_export_writes_and_never_overwrites(drive: Any, tmp_path: Path) -> None:
    async with drive(["一"]) as on:
        await on.ask("甲")
        file = tmp_path / "诗 一.md"
        await on.send(f"/export {file}")
        await on.until(file.exists)
        await on.until(lambda: "一" in file.read_text())
        before = file.read_text()
        await on.send(f"/export {file}")
        await on.until(lambda: on.box.query_text == f"/export {file}")
        assert file.read_text() == before


async def test_export_offers_the_formats_and_all_conversations(drive: Any, tmp_path: Path) -> None:
    async with drive(["一", "二"]) as on:
        await on.ask("甲")
        await on.send("/export")
        await on.until(lambda: format_picker_shown(on))
        assert len(on.app.screen.shown) == 11
        await on.pilot.press(*"svg")
        await on.until(lambda: len(on.app.screen.shown) == 2)
        await on.pilot.press("enter")
        await on.until(lambda: isinstance(on.app.screen, LineQuestion))
        line = on.app.screen.query_one(Input)
        assert line.value == "甲.svg"
        line.value = str(tmp_path / "a.svg")
        await on.pilot.press("enter")
        await on.until(lambda: "<svg" in read(tmp_path / "a.svg"))
        await on.pilot.press("ctrl+n")
        await on.ask("乙")
        await on.send("/export all")
        await on.until(lambda: format_picker_shown(on))
        await on.pilot.press("enter")
        await on.until(lambda: isinstance(on.app.screen, LineQuestion))
        on.app.screen.query_one(Input).value = str(tmp_path / "all")
        await on.pilot.press("enter")
        await on.until(lambda: [*tmp_path.glob("all/1-甲.md")] and [*tmp_path.glob("all/2-乙.md")])


async def test_import_reports_skipped_records(drive: Any, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"instruction": "甲", "output": "乙"}\n{"output": 3}\n', encoding="utf-8")
    async with drive([]) as on:
        await on.send(f"/import {file}")
        await on.until(lambda: len(on.notices) == 2)
        assert "line 2" in on.notices[0] and "Imported 1 conversation" in on.notices[1]
        assert [each.title for each in on.store.conversations()] == ["甲"]
        await on.send(f"/import {file}x")
        await on.until(lambda: on.box.query_text == f"/import {file}x")
        await on.send("/search 甲")
        await on.until(lambda: isinstance(on.app.screen, ConversationPicker))
        await on.until(lambda: on.app.screen.shown)
        assert on.app.screen.words == "甲"


def read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


async def test_the_users_prompts_are_commands(drive: Any) -> None:
    prompt_file("翻译.md", "把下面的文字译成英文：\n{selection}\n{query}".encode())
    prompt_file("坏.md", b"\xff\xfe\xfa")
    prompt_file("help.md", "不会遮住命令".encode())
    store = Store(None)
    add_conversation(store, ("甲", "春风"))
    async with drive(store=store) as on:
        await on.pilot.press("ctrl+o")
        await on.settled()
        await on.until(lambda: len(on.box.commands) == len(commands.COMMANDS) + 1)
        await on.pilot.press("/", *"fany")
        assert [each.name for each in on.box.completions.commands] == ["翻译"]
        await on.pilot.press("enter", *"ok", "enter")
        await on.settled()
        assert on.backend.requests[-1].query == "把下面的文字译成英文：\n春风\nok"
        await on.ask("/fy 快些")
        assert on.backend.requests[-1].query.endswith("译成英文：\n好\n快些")
        for wrong in ("坏.md", "/help is a built-in command"):
            assert any(wrong in notice for notice in on.notices)


def test_placeholders_are_filled_only_once() -> None:
    prompt = commands.Command("p", prompt="A {selection} B {query} C")
    assert prompt.query("{selection}", "{query}") == "A {query} B {selection} C"
    assert commands.Command("p", prompt="总结。").query("短些", "x") == "总结。\n\n短些"


def test_invalid_prompt_files_are_reported_and_skipped(home: object) -> None:
    prompt_file("a b.md", b"x")
    prompt_file("empty.md", b" \n")
    prompt_file("long.md", b"x" * (1 << 21))
    prompt_file("ok.txt", b"fine")
    (locations.config_folder() / "prompts" / "folder.md").mkdir()
    found, problems = commands.prompt_commands()
    assert [prompt.name for prompt in found] == ["ok"]
    assert len(problems) == 4
    assert say("tui.prompts.empty") in "".join(problems)


@pytest.mark.parametrize("is_web", [False, True])
async def test_text_is_copied_to_the_system_clipboard(
    drive: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_web: bool
) -> None:
    program, copied = tmp_path / "xclip", tmp_path / "copied"
    program.write_text(f'#!/bin/sh\necho "$@" > {copied}; cat >> {copied}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(app_module, "clipboard_command", CLIPBOARD_COMMAND)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(ChatApp, "is_web", is_web)
    async with drive(["春风"]) as on:
        await on.ask("写")
        await on.pilot.press("alt+y")
        assert on.app.clipboard == "春风"
        if is_web:
            await on.pilot.pause(0.2)
            assert not copied.exists()
        else:
            wanted = "-selection clipboard\n春风"
            await on.until(lambda: copied.exists() and copied.read_text("utf-8") == wanted)
