"""Drafts, files in queries, the external editor, and waiting queries."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from real_terminal import RealTerminal

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.tui.query_files import MAX_BYTES, complete_path, insert_files, read_query_file
from chatui.tui.screens import query_actions
from chatui.tui.screens.query_actions import Draft
from chatui.tui.widgets.query_box import WaitingList


async def test_a_draft_survives_a_restart(drive: Any) -> None:
    async with drive() as on:
        on.box.insert_text("春风\n又绿\ud800")
    async with drive() as on:
        await on.until(lambda: on.box.query_text == "春风\n又绿\ud800")
        await on.ask("甲")
    async with drive() as on:
        await on.until(lambda: on.app.screen._draft._file)
        await on.pilot.pause()
        assert on.box.query_text == ""


async def test_waiting_and_edited_queries_are_in_the_draft(drive: Any) -> None:
    async with drive(["一", "二三"]) as on:
        await on.ask("甲")
        on.backend.hold_after = 1
        await on.send("乙")
        await on.until(lambda: on.app.turns.is_replying)
        await on.send("丙")
        on.box.insert_text("草稿")
        await on.pilot.press("alt+e", "!")
    async with drive() as on:
        await on.until(lambda: on.box.query_text == "丙\n草稿\n乙!")


def test_a_late_save_does_not_replace_the_last_draft(
    home: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = Draft()
    draft.claim()
    started, go_on = threading.Event(), threading.Event()

    def write_slowly(file: Path, text: str) -> None:
        started.set()
        go_on.wait(10)
        file.write_text(text)

    monkeypatch.setattr("chatui.conversation.exports.write_atomically", write_slowly)
    saving = threading.Thread(target=draft.save, args=("旧",))
    saving.start()
    started.wait(10)
    closing = threading.Thread(target=draft.close, args=("",))
    closing.start()
    go_on.set()
    saving.join()
    closing.join()
    draft.save("旧")
    again = Draft()
    assert again.claim() == ""
    again.close()


def test_each_running_app_has_its_own_draft(home: object) -> None:
    first, second = Draft(), Draft()
    assert (first.claim(), second.claim()) == ("", "")
    first.save("一")
    second.save("二")
    second.close()
    third = Draft()
    assert third.claim() == "二"
    third.save("")
    first.close()
    third.close()
    again = Draft()
    assert again.claim() == "一"
    again.close()


def test_the_content_of_a_file_is_inserted_into_the_query(tmp_path: Path) -> None:
    file = tmp_path / "诗.txt"
    file.write_bytes("床前\r\n明月光\n".encode("gb18030"))
    text, told = insert_files(f"解释@{file}，谢谢 a@b.c @nobody")
    assert text == f"解释\n{file}\n```\n床前\n明月光\n```\n，谢谢 a@b.c @nobody"
    assert len(told) == 1
    file.write_text("```py\n```\n")
    assert "````\n```py\n```\n````" in insert_files(f"@{file}")[0]
    spaced = tmp_path / "a b.md"
    spaced.write_text("x")
    assert insert_files(f'@"{spaced}" 好')[0] == f"{spaced}\n```\nx\n```\n好"


def test_a_path_that_is_not_a_text_file_is_refused(tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as stream:
        stream.truncate(2 << 30)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\x7fELF\0\0")
    for name, key in (
        (tmp_path, "folder"), ("/dev/zero", "device"), (huge, "too_long"),
        (binary, "binary"), (tmp_path / "gone", "unreadable"),
    ):  # fmt: skip
        with pytest.raises(ChatuiError) as caught:
            read_query_file(str(name))
        words = say(f"tui.file.{key}", name=name, size="", most="", reason="")
        assert str(caught.value).startswith(words[:20])
    assert read_query_file("/proc/self/status")[1] < MAX_BYTES


async def test_a_query_with_a_wrong_file_returns_to_the_box(drive: Any, tmp_path: Path) -> None:
    async with drive() as on:
        await on.send(f"看 @{tmp_path}")
        await on.until(lambda: on.box.query_text == f"看 @{tmp_path}")
        assert on.backend.requests == []
        assert len(on.notices) == 1


async def test_tab_completes_a_file_and_inserts_its_text(drive: Any, tmp_path: Path) -> None:
    (tmp_path / "notes-a.md").write_text("甲乙丙")
    (tmp_path / "notes-b.md").write_text("丁")
    assert complete_path(f"{tmp_path}/no") == f"{tmp_path}/notes-"
    assert complete_path(f"{tmp_path}/xyz") == f"{tmp_path}/xyz"
    async with drive() as on:
        on.box.insert_text(f"看 @{tmp_path}/no")
        await on.pilot.press("tab")
        await on.until(lambda: on.box.text.endswith("notes-"))
        await on.pilot.press("a", "tab")
        await on.until(lambda: "[" in on.box.text)
        assert "notes-a.md" in on.box.query_text
        assert on.box.query_text.endswith("```\n甲乙丙\n```\n")
        await on.pilot.press("enter")
        await on.settled()
        assert "甲乙丙" in on.backend.requests[-1].query


async def test_a_waiting_query_is_edited_put_back_and_withdrawn(drive: Any) -> None:
    async with drive(["一二", "三"]) as on:
        on.backend.hold_after = 1
        await on.send("甲")
        await on.until(lambda: on.app.turns.is_replying)
        await on.send("乙")
        await on.send("丙")
        await on.pilot.press("alt+q")
        assert (on.box.query_text, on.app.turns.waiting) == ("丙", ("乙",))
        await on.pilot.press("escape")
        assert on.app.turns.waiting == ("乙", "丙")
        await on.pilot.click(WaitingList, offset=(6, 1))
        await on.until(lambda: on.box.query_text == "丙")
        await on.pilot.press("!", "enter")
        await on.until(lambda: on.app.turns.waiting == ("乙", "丙!"))
        await on.pilot.press("alt+q", "ctrl+u", "enter")
        await on.pilot.pause()
        assert on.app.turns.waiting == ("乙",)
        on.backend.hold_after = None
        on.backend.reply_gate.set()
        await on.settled()
        assert [request.query for request in on.backend.requests] == ["甲", "乙"]


def test_the_editor_changes_the_query_and_the_draft_is_kept(home: Path, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "%s edited\\n" "$(cat "$1")" > "$1"\n')
    editor.chmod(0o755)
    command = [sys.executable, "-m", "chatui", "--lang", "en"]
    on = RealTerminal(command, EDITOR=str(editor), VISUAL="")
    on.until_shown("Type here")
    on.type("poem")
    on.until_shown("poem")
    on.type("\x1bx")
    on.until_shown("poem edited")
    on.until(lambda: any(home.glob("drafts/*.json")))
    on.until(lambda: "edited" in next(home.glob("drafts/*.json")).read_text())
    on.kill()
    left = Draft()
    assert left.claim() == "poem edited"
    left.close()


async def test_an_editor_setting_that_cannot_be_parsed_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VISUAL", " ")
    monkeypatch.setenv("EDITOR", "vi '")
    with pytest.raises(ChatuiError, match="EDITOR"):
        await query_actions._edit_externally("poem")


async def test_a_click_edits_or_withdraws_a_waiting_query(drive: Any) -> None:
    async with drive(["一二", "三"]) as on:
        on.backend.hold_after = 1
        await on.send("甲")
        await on.until(lambda: on.app.turns.is_replying)
        for query in ("乙", "丙", "丁"):
            await on.send(query)
        waiting = on.app.screen.query_one(WaitingList)
        left = waiting.gutter.left
        await on.pilot.click(waiting, offset=(left + 4, 0))
        await on.until(lambda: on.box.query_text == "乙")
        await on.pilot.press("!", "alt+q")
        assert (on.box.query_text, on.app.turns.waiting) == ("丁", ("乙", "丙"))
        await on.pilot.press("escape")
        await on.pilot.click(waiting, offset=(left, 1))
        await on.until(lambda: on.app.turns.waiting == ("乙", "丁"))
        assert "丙" in on.notices[-1]
        await on.pilot.press("escape")
        on.backend.reply_gate.set()
        await on.settled()
