"""How the screens look. After a wanted change: pytest --snapshot-update, and look at them."""

from __future__ import annotations

from typing import Any

import pytest
from saved_conversations import SPEC, add_conversation
from scripted_backend import ScriptedBackend
from textual.pilot import Pilot

from chatui.catalog import Entry
from chatui.conversation.store import Store
from chatui.settings import Settings
from chatui.tui.app import ChatApp
from chatui.tui.screens import model_picker

NOON = 1_700_049_600.0

POEM = "东风吹雨过春城，夜半花开月自明。\n莫问江南多少事，一声啼鸟到天明。"
MIXED = "混排 mixed text，标点与“引号”——不在行首。the quick brown fox 跳过 lazy dog；"
ENTRIES = (
    Entry("shiyou", "preset", "诗友", "随程序附带的小模型，在对话里写古诗。"),
    Entry("xuxie", "preset", "续写", "接着您输入的文字往下写。"),
    Entry(
        "belle", "preset", "belle", "BELLE：BLOOMZ 的中文指令精调。", usable=False, lacking=("x",)
    ),
)


def stored() -> Store:
    store = Store(None, clock=lambda: NOON)
    add_conversation(store, ("写一首七言绝句，题目是《春夜》", POEM), ("再来一首", MIXED * 4))
    add_conversation(store, ("床前明月光", "疑是地上霜"))
    return store


def app(language: str, *, store: Store | None = None, theme: str = "chatui") -> ChatApp:
    backend = ScriptedBackend()
    return ChatApp(Settings(theme=theme), SPEC, store or Store.in_memory(), backend, language)


async def until_shown(pilot: Pilot[None], text: str) -> None:
    """Wait until ``text`` stands on the screen, and then until nothing changes any more."""
    for _ in range(500):
        strips = pilot.app.screen._compositor.render_strips()
        if any(text in strip.text for strip in strips):
            break
        await pilot.pause(0.01)
    await pilot.pause(0.2)


async def settle(pilot: Pilot[None]) -> None:
    await until_shown(pilot, "/512")


async def open_first(pilot: Pilot[None]) -> None:
    await until_shown(pilot, "诗友" if pilot.app.size.height < 12 else "/512")
    await pilot.press("ctrl+b")
    await until_shown(pilot, "床前明月光")
    await pilot.press("down", "enter")
    await until_shown(pilot, "dog")


def test_welcome_zh(snap_compare: Any) -> None:
    assert snap_compare(app("zh"), run_before=settle)


def test_welcome_en(snap_compare: Any) -> None:
    assert snap_compare(app("en", store=stored()), run_before=settle)


def test_conversation(snap_compare: Any) -> None:
    assert snap_compare(app("zh", store=stored()), run_before=open_first)


def test_conversation_light(snap_compare: Any) -> None:
    shown = app("en", store=stored(), theme="chatui-light")
    assert snap_compare(shown, run_before=open_first, terminal_size=(60, 20))


def test_models(snap_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_picker, "entries", lambda settings: ENTRIES)

    async def open_models(pilot: Pilot[None]) -> None:
        await settle(pilot)
        await pilot.press("f2")
        await until_shown(pilot, "belle")

    assert snap_compare(app("zh"), run_before=open_models)


def test_conversations(snap_compare: Any) -> None:
    async def search(pilot: Pilot[None]) -> None:
        await settle(pilot)
        await pilot.press("ctrl+b", *"春")
        await until_shown(pilot, " 春")
        while "床前明月光" in str(pilot.app.screen._compositor.render_strips()):
            await pilot.pause(0.01)
        await pilot.pause(0.2)

    assert snap_compare(app("zh", store=stored()), run_before=search)


def test_help(snap_compare: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # How long the paths are decides how far there is to scroll.
    monkeypatch.setenv("CHATUI_HOME", "/home/a/.chatui")

    async def open_help(pilot: Pilot[None]) -> None:
        await settle(pilot)
        await pilot.press("f1")
        await until_shown(pilot, "Alt+Enter")

    assert snap_compare(app("zh"), run_before=open_help)


def test_twenty_by_five(snap_compare: Any) -> None:
    shown = app("zh", store=stored())
    assert snap_compare(shown, run_before=open_first, terminal_size=(20, 5))
