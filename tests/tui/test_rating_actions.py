"""Ratings and notes on replies, by key, mouse and command."""

from __future__ import annotations

from typing import Any

import pytest
from driven import Driven
from saved_conversations import add_conversation
from textual.widgets import Static

from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.tui.widgets.round_list import RoundList


def opinions(on: Driven) -> list[tuple[int, str]]:
    return [(each.rating, each.note) for each in on.rounds]


async def test_keys_rate_the_chosen_reply_and_remove_the_rating(drive: Any) -> None:
    store = Store(None)
    add_conversation(store, ("甲", "一"), ("乙", "二"))
    async with drive(store=store) as on:
        await on.pilot.press("ctrl+o")
        await on.settled()
        await on.pilot.press("alt+u", "alt+up", "alt+up", "alt+j")
        await on.settled()
        assert opinions(on) == [(-1, ""), (1, "")]
        assert say("tui.round.good") in on.screen_text and say("tui.round.bad") in on.screen_text
        await on.pilot.press("alt+plus")
        await on.settled()
        assert opinions(on) == [(1, ""), (1, "")]
        await on.pilot.press("alt+plus")
        await on.settled()
        assert opinions(on) == [(0, ""), (1, "")]


@pytest.mark.parametrize("size", [(80, 24), (40, 12)])
async def test_a_click_on_a_mark_rates_its_reply(drive: Any, size: tuple[int, int]) -> None:
    async with drive(["一", "二"], size=size) as on:
        await on.ask("甲")
        row = on.screen_text.split("\n")
        y = next(at for at, text in enumerate(row) if text.endswith("+  -"))
        good = (on.conversation.query_one(RoundList).region.right - 5, y)
        await on.pilot.click(Static, offset=(0, 0))
        await on.pilot.click(offset=good)
        await on.settled()
        assert opinions(on) == [(1, "")]
        await on.pilot.click(offset=(good[0] + 3, y))
        await on.settled()
        assert opinions(on) == [(-1, "")]
        await on.pilot.click(offset=(good[0] + 3, y))
        await on.settled()
        assert opinions(on) == [(0, "")]
        await on.pilot.click(offset=(good[0] - 4, y))
        await on.settled()
        assert opinions(on) == [(0, "")]


async def test_commands_rate_and_note(drive: Any) -> None:
    async with drive(["一"]) as on:
        await on.send("/rate +")
        await on.settled()
        assert on.notices == [say("tui.rewrite.nothing")]
        await on.ask("甲")
        for words in ("/rate +", "/note 平仄 \x1b[31m不合"):
            await on.send(words)
            await on.settled()
        assert opinions(on) == [(1, "平仄 \x1b[31m不合")]
        assert "平仄 " in on.screen_text and "\x1b" not in on.screen_text
        await on.send("/rate 5")
        await on.settled()
        assert on.box.query_text == "/rate 5"
        assert on.notices[-1] == say("tui.command.rate")
        await on.send("/rate 0")
        await on.settled()
        assert opinions(on) == [(0, "平仄 \x1b[31m不合")]


async def test_a_note_is_edited_in_the_box_and_an_empty_one_is_deleted(drive: Any) -> None:
    async with drive(["一"]) as on:
        await on.ask("甲")
        on.box.insert_text("草稿")
        await on.pilot.press("alt+n", "好", "escape")
        await on.settled()
        assert opinions(on) == [(0, "")]
        await on.pilot.press("alt+n", "好", "enter")
        await on.settled()
        assert opinions(on) == [(0, "好")]
        assert on.box.query_text == "草稿"
        await on.pilot.press("alt+n", "backspace", "enter")
        await on.settled()
        assert opinions(on) == [(0, "")]


async def test_a_running_reply_is_not_rated(drive: Any) -> None:
    async with drive(["一二三"]) as on:
        on.backend.hold_after = 1
        await on.send("甲")
        await on.until(lambda: on.views and on.app.turns.is_replying)
        await on.pilot.press("alt+u")
        assert on.notices == [say("tui.rewrite.running")]
        on.backend.reply_gate.set()
        await on.settled()
        assert opinions(on) == [(0, "")]


async def test_a_corrected_reply_records_the_round_that_it_corrects(drive: Any) -> None:
    async with drive(["春"]) as on:
        await on.ask("甲")
        (first,) = on.rounds
        await on.pilot.press("alt+r", "风", "enter")
        await on.settled()
        (right,) = on.rounds
        assert (right.reply, right.corrects_id) == ("春风", first.id)


async def test_a_rating_is_shown_again_after_scrolling(drive: Any) -> None:
    async with drive([f"第{number}首" for number in range(8)]) as on:
        await on.ask("0")
        await on.pilot.press("alt+u")
        for number in range(1, 8):
            await on.ask(str(number))
        assert say("tui.round.good") not in on.screen_text
        await on.pilot.press("pageup", "pageup", "pageup")
        await on.pilot.pause()
        assert on.views[0].round.query == "0"
        assert on.views[0].reply_text == "第0首"
        assert say("tui.round.good") in on.screen_text


async def test_a_rating_that_cannot_be_saved_is_reported(
    drive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(*_: object) -> None:
        raise ChatuiError("the disk is full")

    async with drive(["一"]) as on:
        await on.ask("甲")
        monkeypatch.setattr(on.store, "rate", no_room)
        await on.send("/note 好")
        await on.settled()
        assert on.notices
        assert on.box.query_text == "/note 好"
