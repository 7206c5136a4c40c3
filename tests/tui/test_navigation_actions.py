"""Pinning, tagging and archiving conversations; the side bar; the find bar; titles."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from saved_conversations import add_conversation, add_round
from textual.widgets import Input, OptionList

from chatui.conversation.store import Store
from chatui.locales import say
from chatui.settings import Settings
from chatui.tui.screens.picker import ConversationPicker
from chatui.tui.screens.questions import LineQuestion
from chatui.tui.widgets.find_bar import FindBar
from chatui.tui.widgets.round_list import RoundList
from chatui.tui.widgets.side_bar import SideBar


@pytest.fixture
def store() -> Store:
    store = Store(None)
    add_conversation(store, ("春夜喜雨", "好雨知时节"), ("再来一首", "当春乃发生"))
    add_conversation(store, ("静夜思", "床前明月光"))
    add_conversation(store, ("登鹳雀楼", "白日依山尽"))
    return store


async def open_list(on: Any) -> Any:
    await on.pilot.press("ctrl+b")
    await on.until(lambda: isinstance(on.app.screen, ConversationPicker))
    await on.until(lambda: on.app.screen.shown)
    return on.app.screen


def titles(listed: Any) -> list[str]:
    return [each.title for each in listed.shown]


async def test_pin_archive_and_tags(drive: Any, store: Store) -> None:
    async with drive(store=store) as on:
        screen = await open_list(on)
        await on.pilot.press("down", "down", "alt+p")
        await on.until(lambda: titles(screen)[0] == "春夜喜雨")
        assert on.screen_text.index("Pinned") < on.screen_text.index("Today")
        assert screen.highlighted.title == "春夜喜雨", "the highlight stays on it"
        await on.pilot.press("alt+t")
        await on.until(lambda: isinstance(on.app.screen, LineQuestion))
        await on.pilot.press(*"#诗 春", "enter")
        await on.until(lambda: "#诗  #春" in on.screen_text)
        await on.pilot.press(*"#诗")
        await on.until(lambda: titles(screen) == ["春夜喜雨"])
        screen.query_one(Input).value = ""
        await on.until(lambda: len(screen.shown) == 3)
        await on.pilot.press("down", "alt+h")
        await on.until(lambda: titles(screen) == ["春夜喜雨", "静夜思"])
        await on.pilot.press("alt+v")
        await on.until(lambda: titles(screen) == ["登鹳雀楼"])
        await on.pilot.press("alt+h")
        await on.until(lambda: say("organise.list.no_archive")[:20] in on.screen_text)
        await on.pilot.press("alt+v")
        await on.until(lambda: len(screen.shown) == 3)


async def test_an_invalid_tag_is_reported(drive: Any, store: Store) -> None:
    async with drive(store=store) as on:
        await open_list(on)
        await on.pilot.press("alt+t")
        await on.until(lambda: isinstance(on.app.screen, LineQuestion))
        on.app.screen.query_one(Input).value = "长" * 60
        await on.pilot.press("enter")
        await on.until(lambda: any("#poem" in notice for notice in on.notices))


async def test_an_empty_list_says_what_to_do(drive: Any) -> None:
    async with drive() as on:
        await on.pilot.press("ctrl+b")
        await on.until(lambda: "No conversations yet" in on.screen_text)
        await on.pilot.press(*"春")
        await on.until(lambda: "Nothing found" in on.screen_text)


async def test_a_match_in_the_first_query_is_shown_once(drive: Any) -> None:
    store = Store(None)
    add_conversation(store, ("静夜思", "床前明月光"))
    async with drive(store=store) as on:
        await open_list(on)
        await on.pilot.press(*"静夜")
        await on.until(lambda: "· 1 round ·" in on.screen_text)
        assert on.screen_text.count("静夜思") == 1
        on.app.screen.query_one(Input).value = "明月"
        await on.until_shown("床前明月光")


async def test_a_match_opens_at_its_round(drive: Any) -> None:
    store = Store(None)
    ids = [add_conversation(store, *((f"第{n}问", f"答{n}\n\n" * 3) for n in range(60)))]
    first = store.rounds(ids[0])[1]
    other = store.add_round(ids[0], first.parent_id, "第1问", model="shiyou")
    store.finish_round(replace(other, state="done", reply="黄河入海流"))
    path = [each.id for each in store.rounds(ids[0])]
    assert path[-1] == other.id, "the other version is looked at"
    async with drive(store=store) as on:
        await open_list(on)
        await on.pilot.press(*"答2\n"[:2])
        await on.until(lambda: on.app.screen.shown)
        on.app.screen.query_one(Input).value = "答30"
        await on.until(lambda: "答30" in on.screen_text)
        await on.pilot.press("enter")
        await on.until(lambda: on.app.screen.query(FindBar))
        await on.until(lambda: "1/3" in on.screen_text and "答30" in on.screen_text)
        assert on.conversation.round_ids[-1] != other.id, "the path with the hit"
        await on.pilot.press("n", "n")
        await on.until(lambda: "3/3" in on.screen_text)


async def test_the_side_bar_stays_open(drive: Any, store: Store) -> None:
    async with drive(["好"], store=store, size=(120, 30)) as on:
        await on.pilot.press("alt+l")
        await on.until(lambda: on.app.screen.query(SideBar))
        bar = on.app.screen.query_one(SideBar)
        await on.until(lambda: len(bar.shown) == 3)
        await on.pilot.press("down", "enter")
        await on.until(lambda: on.views)
        assert on.views[0].reply_text == "床前明月光" and on.box.has_focus
        await on.until(lambda: "▸ 静夜思" in on.screen_text)
        await on.ask("再来")
        await on.until(lambda: titles(bar)[0] == "静夜思")
        assert on.app.screen.query(SideBar)
        await on.pilot.press("ctrl+n")
        await on.until(lambda: "▸" not in on.screen_text)
        bar.query_one(Input).focus()
        await on.until(lambda: "Esc back · Ctrl+E rename" in on.screen_text)
        await on.pilot.press("escape")
        await on.until(lambda: "F2 models" in on.screen_text)
        assert on.box.has_focus and on.app.screen.query(SideBar)
        await on.pilot.press("alt+l")
        await on.until(lambda: not on.app.screen.query(SideBar))


async def test_the_side_bar_opens_by_a_setting_and_is_clicked(drive: Any, store: Store) -> None:
    async with drive(store=store, size=(120, 30), settings=Settings(side_bar=True)) as on:
        await on.until(lambda: on.app.screen.query(SideBar))
        bar = on.app.screen.query_one(SideBar)
        await on.until(lambda: len(bar.shown) == 3)
        await on.until(lambda: on.box.has_focus)
        await on.pilot.click(bar.query_one(OptionList), offset=(5, 2))
        await on.until(lambda: on.views)


async def test_deleting_the_open_conversation_in_the_side_bar(drive: Any, store: Store) -> None:
    async with drive(store=store, size=(120, 30)) as on:
        await on.pilot.press("alt+l")
        await on.until(lambda: on.app.screen.query(SideBar))
        bar = on.app.screen.query_one(SideBar)
        await on.until(lambda: len(bar.shown) == 3)
        await on.pilot.press("enter")
        await on.until(lambda: on.views)
        bar.query_one(Input).focus()
        await on.pilot.press("ctrl+d")
        await on.until(lambda: not on.views and len(bar.shown) == 2)
        assert on.app.turns.conversation is None


async def test_changes_by_another_process_update_the_list(
    drive: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatui.tui.widgets.side_bar._POLL_SECONDS", 0.05)
    here, there = Store(tmp_path / "c.db"), Store(tmp_path / "c.db")
    id_ = add_conversation(here, ("静夜思", "床前明月光"))
    async with drive(["好"], store=here, size=(120, 30)) as on:
        await on.pilot.press("alt+l")
        await on.until(lambda: on.app.screen.query(SideBar))
        bar = on.app.screen.query_one(SideBar)
        await on.until(lambda: len(bar.shown) == 1)
        await on.pilot.press("enter")
        await on.until(lambda: on.views)
        add_conversation(there, ("春夜喜雨", "好雨知时节"))
        await on.until(lambda: len(bar.shown) == 2)
        there.delete(id_)
        await on.until(lambda: len(bar.shown) == 1)
        await on.ask("再来一首")
        assert on.box.query_text == "再来一首", "what was asked is not lost"
        assert any("Ctrl+N" in notice for notice in on.notices)
    there.close()


async def test_the_side_bar_hides_when_the_terminal_becomes_narrow(
    drive: Any, store: Store
) -> None:
    async with drive(store=store, size=(120, 30)) as on:
        await on.pilot.press("alt+l")
        await on.until(lambda: on.app.screen.query(SideBar))
        bar = on.app.screen.query_one(SideBar)
        await on.pilot.press("escape")
        await on.resize(40, 12)
        await on.until(lambda: not bar.display)
        await on.pilot.press("alt+l")
        await on.until(lambda: on.app.screen.query(SideBar) and "Search titles" in on.screen_text)
        await on.pilot.press("alt+l")
        await on.until(lambda: not on.app.screen.query(SideBar))


async def test_clocks_that_were_set_back_or_far_ahead(drive: Any) -> None:
    now = [0.0]
    store = Store(None, clock=lambda: now[0])
    for now[0], query in ((1e12, "将来"), (1.7e9, "现在"), (0.0, "从前"), (-1e12, "史前")):
        add_conversation(store, (query, "好"))
    async with drive(store=store) as on:
        screen = await open_list(on)
        assert titles(screen) == ["将来", "现在", "从前", "史前"]
        assert "9999-12-31" in on.screen_text and "1970-01-01" in on.screen_text


async def test_narrow_terminals(drive: Any, store: Store) -> None:
    async with drive(store=store, size=(40, 12)) as on:
        await on.pilot.press("alt+l")
        await on.until(lambda: on.app.screen.query(SideBar))
        bar = on.app.screen.query_one(SideBar)
        await on.until(lambda: len(bar.shown) == 3)
        await on.pilot.pause()
        assert bar.size.width >= 38
        await on.pilot.press("enter")
        await on.until(lambda: on.views and not on.app.screen.query(SideBar))
        await on.pilot.press("ctrl+f", *"白日", "enter")
        await on.until(lambda: "1/1" in on.screen_text and "白日依山尽" in on.screen_text)


async def test_find_in_the_conversation(drive: Any, store: Store) -> None:
    id_ = add_conversation(store, ("明月几时有", "把酒问青天，明月\n\n**明月**何时"))
    parent = store.conversation(id_).head_id
    add_round(store, id_, parent, "又", "長空萬里" + "云" * 70 + "明月")
    async with drive(store=store, size=(80, 30)) as on:
        await open_list(on)
        await on.pilot.press("enter")
        await on.until(lambda: len(on.views) == 2)
        await on.pilot.press("ctrl+f", *"明月")
        await on.until(lambda: "4/4" in on.screen_text)
        for key, place in (("enter", "4/4"), ("n", "1/4"), ("N", "4/4"), ("up", "3/4")):
            await on.pilot.press(key)
            await on.until(lambda place=place: place in on.screen_text)
        await on.pilot.press("escape")
        await on.until(lambda: on.box.has_focus and not on.app.screen.query(FindBar))
        await on.send("/find 长空")
        await on.until(lambda: "1/1" in on.screen_text)
        list_, view = on.conversation.query_one(RoundList), on.views[1]
        assert [list_._row(view, place, 0).spans for place in view.parts()][2]
        await on.pilot.press("ctrl+f")
        await on.until(lambda: isinstance(on.app.focused, Input))
        on.app.screen.query_one(FindBar).query_one(Input).value = "没有"
        await on.until(lambda: "nothing found" in on.screen_text)
        await on.pilot.press("enter", "n", "escape")
        assert on.box.has_focus


async def test_a_title_is_given_or_written_by_the_model(drive: Any, store: Store) -> None:
    async with drive(["好", "《登楼》\n更多"], store=store) as on:
        await on.send("/title")
        await on.until(lambda: on.notices)
        await on.ask("写诗")
        await on.send("/title 我的诗")
        await on.until(lambda: store.conversations()[0].title == "我的诗")
        await on.send("/title")
        await on.until(lambda: store.conversations()[0].title == "登楼")
        assert "登楼" in on.screen_text
        assert len(on.rounds) == 1
