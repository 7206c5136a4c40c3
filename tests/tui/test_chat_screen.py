"""The keys of the main screen."""

from __future__ import annotations

from typing import Any

import pytest
from saved_conversations import add_conversation
from scripted_backend import ScriptedBackend

from chatui import locations
from chatui.conversation.store import Store
from chatui.messages import ModelSpec
from chatui.settings import Settings
from chatui.tui.widgets.prose import Prose
from chatui.tui.widgets.welcome import Welcome


async def test_enter_sends_a_query_that_is_not_blank(drive: Any) -> None:
    async with drive(["春风又绿江南岸"]) as on:
        await on.pilot.press("enter", "space", "ctrl+j", "enter")
        await on.settled()
        assert not on.backend.requests
        assert on.app.turns.conversation is None
        on.box.set_query("")
        await on.pilot.press("h", "i", "enter")
        await on.settled()
        assert "春风又绿江南岸" in on.screen_text
        assert on.box.query_text == ""
        (round_,) = on.rounds
        assert (round_.query, round_.reply, round_.state) == ("hi", "春风又绿江南岸", "done")


async def test_each_reply_shows_its_model(drive: Any) -> None:
    async with drive(["一", "二"]) as on:
        await on.ask("甲")
        on.app.turns.switch(ModelSpec("my-own-model", "/models/own"))
        await on.ask("乙")
        text = on.screen_text
        assert "my-own-model" in text.split("乙")[1]
        assert "my-own-model" not in text.split("乙")[0]


async def test_escape_stops_the_reply_and_keeps_its_text(drive: Any) -> None:
    async with drive(["春" * 400]) as on:
        on.backend.hold_after = 5
        await on.pilot.press("a", "enter")
        await on.until(lambda: on.views and len(on.views[0].reply_text) == 5)
        assert on.rounds[0].state == "streaming"
        await on.pilot.press("escape")
        on.backend.reply_gate.set()
        await on.settled()
        (round_,) = on.rounds
        assert (round_.state, round_.reply) == ("stopped", "春" * 5)
        assert on.views[0].reply_text == round_.reply
        assert "Stopped" in on.screen_text


async def test_ctrl_r_during_a_reply_shows_a_hint_and_ctrl_c_stops_it(drive: Any) -> None:
    async with drive(["春" * 40]) as on:
        on.backend.hold_after = 5
        await on.pilot.press("a", "enter")
        await on.until(lambda: on.views and on.views[0].reply_text)
        await on.pilot.press("ctrl+r")
        assert any("Esc" in notice for notice in on.notices)
        assert on.app.turns.is_replying
        await on.pilot.press("ctrl+c")
        on.backend.reply_gate.set()
        await on.settled()
        assert on.rounds[0].state == "stopped"
        await on.pilot.press("ctrl+c")
        await on.pilot.pause()
        assert any("Ctrl+Q" in notice for notice in on.notices)
        assert on.app.is_running


async def test_ctrl_c_copies_a_selection(drive: Any) -> None:
    async with drive(["春风又绿江南岸"]) as on:
        await on.pilot.press(*"abc", "shift+left", "shift+left", "ctrl+c")
        assert on.app.clipboard == "bc", "in the box"
        await on.ask("hi")
        on.app.screen.text_select_all()
        await on.pilot.press("ctrl+c")
        assert "春风又绿江南岸" in on.app.clipboard


async def test_ctrl_n_begins_a_new_conversation(drive: Any) -> None:
    async with drive(["一", "二"]) as on:
        await on.ask("甲")
        await on.pilot.press("ctrl+n")
        await on.pilot.pause()
        assert not on.views
        assert on.conversation.query(Welcome)
        await on.ask("乙")
        assert on.backend.requests[-1].history == ()
        assert len(on.store.conversations()) == 2


async def test_the_welcome_describes_the_model(drive: Any) -> None:
    async with drive() as on:
        on.app.turns.switch(ModelSpec("belle", "/m/belle", format="belle"))
        await on.settled()
        assert "belle" in on.conversation.query_one(".title", Prose).text
        assert "BELLE" in on.conversation.query_one(".purpose", Prose).text
        poet = ModelSpec("shiyou", str(locations.assets_folder() / "shiyou"), format="shiyou")
        on.app.turns.switch(poet)
        await on.settled()
        assert on.conversation.query_one(".title", Prose).text == "A friend who writes poems"
        assert len(on.conversation.query(".example")) == 3
        await on.pilot.click(".example")
        await on.pilot.pause()
        assert on.box.query_text == "写一首七言绝句，题目是《春夜》"


async def test_ctrl_r_regenerates_and_alt_arrows_switch_versions(drive: Any) -> None:
    async with drive(["一", "二", "三"]) as on:
        await on.ask("甲")
        await on.ask("乙")
        await on.pilot.press("ctrl+r")
        await on.settled()
        assert [view.reply_text for view in on.views] == ["一", "三"]
        assert "2/2" in on.screen_text
        await on.pilot.press("alt+left")
        await on.pilot.pause()
        assert [view.reply_text for view in on.views] == ["一", "二"]
        assert "1/2" in on.screen_text
        await on.pilot.press("alt+left", "alt+right")
        await on.pilot.pause()
        assert [view.reply_text for view in on.views] == ["一", "三"]


async def test_ctrl_q_during_a_reply_saves_it(drive: Any) -> None:
    store = Store(None)
    async with drive(["春" * 40], store=store) as on:
        on.backend.hold_after = 5
        await on.pilot.press("a", "enter")
        await on.until(lambda: on.views and on.views[0].reply_text)
        await on.pilot.press("ctrl+q")
        await on.pilot.pause()
    (conversation,) = store.conversations()
    (round_,) = store.rounds(conversation.id)
    assert round_.state == "stopped"
    assert round_.reply
    assert on.backend.closed


async def test_queries_sent_during_a_reply_wait_and_escape_returns_them(drive: Any) -> None:
    async with drive(["春" * 400]) as on:
        on.backend.hold_after = 5
        await on.pilot.press("a", "enter")
        await on.until(lambda: on.views and on.views[0].reply_text)
        await on.pilot.press("b", "enter", "c", "enter", "d")
        await on.until(lambda: "Waiting: b" in on.screen_text)
        await on.pilot.press("escape")
        on.backend.reply_gate.set()
        await on.settled()
        assert on.box.query_text == "b\nc\nd"
        assert "Waiting" not in on.screen_text
        assert len(on.backend.requests) == 1


async def test_a_query_sent_while_loading_waits_for_the_model(drive: Any) -> None:
    backend = ScriptedBackend(["春风"])
    backend.load_gate.clear()
    async with drive(backend=backend) as on:
        await on.pilot.press("h", "enter")
        await on.until_shown("Waiting: h")
        assert "5/20 MB" in on.screen_text
        backend.load_gate.set()
        await on.settled()
        assert "春风" in on.screen_text


async def test_a_dead_engine_is_reported_and_restarted_by_the_next_query(drive: Any) -> None:
    async with drive(["春风又绿江南岸", "好"]) as on:
        on.backend.fail_after = 2
        await on.ask("甲")
        assert "春风" in on.screen_text
        assert "The engine died (code 1)." in on.screen_text
        on.backend.fail_after = None
        await on.pilot.press("ctrl+r")
        await on.settled()
        assert on.views[-1].reply_text == "好"
        assert len(on.backend.specs) == 2


async def test_a_failed_load_shows_one_sentence_and_keeps_the_query(drive: Any) -> None:
    backend = ScriptedBackend()
    backend.refuse_load = "The weights in [bold]/models[/bold] are truncated."
    async with drive(backend=backend) as on:
        await on.ask("甲")
        assert backend.refuse_load in on.notices
        assert on.box.query_text == "甲"
        assert "no model loaded" in on.screen_text


async def test_speed_context_and_dropped_rounds_are_shown(drive: Any) -> None:
    async with drive(["春风又绿"], delay_seconds=0.01) as on:
        on.backend.dropped_rounds = 3
        await on.ask("甲")
        assert "tokens/s" in on.status.facts()
        assert "context 14/512" in on.screen_text
        assert "oldest 3 rounds" in on.screen_text


async def test_the_welcome_offers_the_last_conversation(drive: Any) -> None:
    store = Store(None)
    add_conversation(store, ("甲", "春"), ("乙", "夏"))
    async with drive(store=store) as on:
        await on.until_shown("Continue the last conversation: 甲 (2 rounds)")
        assert not on.views
        await on.pilot.press("ctrl+o")
        await on.pilot.pause()
        assert [view.reply_text for view in on.views] == ["春", "夏"]
        await on.ask("丙")
        assert on.backend.requests[-1].history == (("甲", "春"), ("乙", "夏"))
        await on.pilot.press("ctrl+n")
        await on.until_shown("Continue the last conversation: 甲 (3 rounds)")
        await on.pilot.click(".continue")
        await on.pilot.pause()
        assert [view.reply_text for view in on.views] == ["春", "夏", "好"]


async def test_ctrl_t_switches_between_dark_and_light(drive: Any) -> None:
    async with drive() as on:
        assert on.app.theme == "chatui"
        await on.pilot.press("ctrl+t")
        assert on.app.theme == "chatui-light"
        await on.pilot.press("ctrl+t")
        assert on.app.theme == "chatui"


async def test_page_keys_scroll_and_only_the_end_is_followed(drive: Any) -> None:
    store = Store(None)
    id_ = add_conversation(store, *((f"q{n}", "line\n" * 5) for n in range(5)))
    async with drive(["春\n" * 60], store=store) as on:
        await on.app.screen.open_conversation(id_)
        await on.pilot.pause()
        assert on.conversation.scroll_y == on.conversation.max_scroll_y > 0
        on.backend.hold_after = 30
        await on.pilot.press("a", "enter")
        await on.until(lambda: len(on.views[-1].reply_text) == 30)
        await on.until(lambda: on.conversation.scroll_y == on.conversation.max_scroll_y)
        await on.pilot.press("pageup", "pageup")
        await on.pilot.pause()
        here = on.conversation.scroll_y
        on.backend.hold_after = 60
        on.backend.reply_gate.set()
        await on.until(lambda: len(on.views[-1].reply_text) == 60)
        await on.pilot.pause()
        assert on.conversation.scroll_y == here
        await on.pilot.press("escape")
        on.backend.reply_gate.set()
        await on.settled()
        while on.conversation.scroll_y < on.conversation.max_scroll_y:
            await on.pilot.press("pagedown")
        assert on.conversation.scroll_y == on.conversation.max_scroll_y


async def test_escape_says_that_the_reply_is_in_another_conversation(drive: Any) -> None:
    async with drive(["春" * 20, "二"]) as on:
        on.backend.hold_after = 5
        await on.pilot.press("a", "enter")
        await on.until(lambda: on.views and on.views[0].reply_text)
        await on.pilot.press("ctrl+n", "escape")
        assert any("another conversation" in notice for notice in on.notices)
        await on.pilot.press("b", "enter")
        await on.until(lambda: "Waiting: b" in on.screen_text)
        on.backend.hold_after = None
        on.backend.reply_gate.set()
        await on.settled()
        assert [view.reply_text for view in on.views] == ["二"]


async def test_escape_stops_loading_and_returns_the_query(drive: Any) -> None:
    async with drive(["一"]) as on:
        await on.settled()
        on.backend.load_gate.clear()
        on.app.turns.switch(ModelSpec("huge", "/models/huge"))
        await on.until(lambda: "5/20 MB" in on.screen_text)
        await on.pilot.press("h", "enter")
        await on.until(lambda: "Waiting: h" in on.screen_text)
        await on.pilot.press("escape")
        await on.until(lambda: "Loading was stopped." in on.notices)
        assert on.box.query_text == "h"
        on.backend.load_gate.set()
        await on.pilot.press("enter")
        await on.settled()
        assert [round_.model for round_ in on.rounds] == ["shiyou"]


async def test_the_terminal_notifies_that_a_reply_has_ended(
    drive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = {
        "off": "",
        "bell": "\x07",
        "osc9": "\x1b]9;Reply finished: 甲；[31m乙\x07",
        "osc777": "\x1b]777;notify;chatui;Reply finished: 甲；[31m乙\x07",
    }
    async with drive(["一二"]) as on:
        written: list[str] = []
        monkeypatch.setattr(type(on.app._driver), "write", lambda self, data: written.append(data))
        monkeypatch.setattr(on.app, "bell", lambda: written.append("\x07"))
        for kind, words in sent.items():
            on.app.settings = Settings(notify=kind)
            await on.ask("甲;[31m乙")
            assert written == [], "they see it"
            on.backend.hold_after = 1
            await on.send("甲;[31m乙")
            await on.until(lambda: on.views[-1].reply_text == "一")
            on.app.app_focus = False
            on.backend.hold_after = None
            on.backend.reply_gate.set()
            await on.settled()
            assert "".join(written) == words
            written.clear()


async def test_a_notice_replaces_the_previous_one_and_needs_few_rows(drive: Any) -> None:
    async with drive(["好"], size=(40, 12), notifications=True) as on:
        await on.ask("你好")
        await on.pilot.press("alt+k", "alt+y", "alt+w")
        await on.until_shown("of 512 tokens")
        assert len(on.notices) == 1
        assert "Type here" in on.screen_text, "the query box is not covered"
        toast = on.app.screen.query_one("Toast")
        assert toast.outer_size.width == 40 and toast.outer_size.height <= 5
        await on.pilot.click(toast)
        await on.until(lambda: not on.notices)


async def test_an_equal_error_is_shown_once(drive: Any) -> None:
    async with drive() as on:
        for sentence in ("The disk is full.", "No model.", "The disk is full."):
            on.app.tell_user(sentence)
            await on.pilot.pause()
        assert on.notices == ["No model.", "The disk is full."]
