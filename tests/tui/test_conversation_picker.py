"""Ctrl+B: the picker of conversations."""

from __future__ import annotations

from typing import Any

import pytest
from saved_conversations import add_conversation
from scripted_backend import ScriptedBackend
from textual.widgets import Input, OptionList

from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.tui.screens.picker import ConversationPicker
from chatui.tui.screens.questions import LineQuestion


@pytest.fixture
def store() -> Store:
    store = Store(None)
    add_conversation(store, ("春夜喜雨", "好雨知时节"), ("再来一首", "当春乃发生"))
    add_conversation(store, ("静夜思", "床前明月光"))
    add_conversation(store, ("[bold]markup[/bold] \x1b[31m", "疑是地上霜"))
    return store


async def open_conversations(on: Any) -> OptionList:
    await on.pilot.press("ctrl+b")
    await on.until(lambda: isinstance(on.app.screen, ConversationPicker))
    options: OptionList = on.app.screen.query_one(OptionList)
    await on.until(lambda: options.option_count)
    return options


async def test_a_choice_opens_the_conversation(drive: Any, store: Store) -> None:
    async with drive(store=store) as on:
        options = await open_conversations(on)
        assert len(on.app.screen.shown) == 3
        assert str(options.get_option_at_index(0).prompt) == "Today"
        assert "[bold]markup[/bold]" in on.screen_text
        await on.pilot.press("down", "down", "enter")
        await on.pilot.pause()
        assert [view.reply_text for view in on.views] == ["好雨知时节", "当春乃发生"]
        await on.pilot.press("up")
        assert on.box.query_text == "再来一首", "the history is the conversation's"


async def test_a_search_finds_text_in_replies(drive: Any, store: Store) -> None:
    async with drive(store=store) as on:
        await open_conversations(on)
        await on.pilot.press(*"明月")
        await on.until(lambda: len(on.app.screen.shown) == 1)
        await on.pilot.pause()
        assert "床前明月光" in on.screen_text
        await on.pilot.press("enter")
        await on.pilot.pause()
        assert [view.reply_text for view in on.views] == ["床前明月光"]


async def test_a_conversation_is_renamed(drive: Any, store: Store) -> None:
    async with drive(store=store) as on:
        await open_conversations(on)
        await on.pilot.press("down", "ctrl+e")
        await on.until(lambda: isinstance(on.app.screen, LineQuestion))
        on.app.screen.query_one(Input).value = ""
        await on.pilot.press(*"李白", "enter")
        await on.until(lambda: "李白" in on.screen_text)
        assert {c.title for c in store.conversations()} >= {"李白"}
        await on.pilot.press("escape")


async def test_a_deleted_conversation_is_restored(drive: Any, store: Store) -> None:
    async with drive(store=store) as on:
        await open_conversations(on)
        await on.pilot.press("down", "ctrl+d")
        await on.until(lambda: len(on.app.screen.shown) == 2)
        assert [each.title for each in store.deleted()] == ["静夜思"]
        assert on.app.screen.highlighted.title == "春夜喜雨", "what took its place"
        assert any("Ctrl+Z" in notice for notice in on.notices)
        await on.pilot.press("ctrl+z")
        await on.until(lambda: len(on.app.screen.shown) == 3)
        assert not store.deleted()
        await on.pilot.press("ctrl+z")
        await on.until(lambda: say("organise.list.nothing_deleted") in on.notices)


async def test_deleting_the_open_conversation_shows_a_new_one(drive: Any, store: Store) -> None:
    async with drive(store=store) as on:
        await open_conversations(on)
        await on.pilot.press("enter")
        await on.until(lambda: on.views)
        await open_conversations(on)
        await on.pilot.press("ctrl+d")
        await on.until(lambda: len(store.conversations()) == 2)
        await on.pilot.press("escape")
        await on.until(lambda: not on.views)
        assert on.app.turns.conversation is None


async def test_a_conversation_with_a_running_reply_is_marked(drive: Any, store: Store) -> None:
    backend = ScriptedBackend(["春" * 60, "二"], delay_seconds=0.005)
    backend.hold_after = 20
    async with drive(store=store, backend=backend) as on:
        await on.pilot.press("a", "enter")
        await on.until(lambda: on.views and on.views[0].reply_text == "春" * 20)
        writing = on.app.turns.conversation.id
        await open_conversations(on)
        assert on.screen_text.count("● replying") == 1
        await on.pilot.press("down", "enter")
        await on.until(lambda: len(on.views) == 1 and on.views[0].round.query != "a")
        assert "replying in another conversation" in on.screen_text
        assert "春" not in on.screen_text
        await open_conversations(on)
        await on.pilot.press("enter")
        await on.until(lambda: on.views[0].round.query == "a")
        assert on.views[0].reply_text == "春" * 20
        backend.hold_after = 40
        backend.reply_gate.set()
        await on.until(lambda: len(on.views[0].reply_text) == 40)
        await on.pilot.press("ctrl+n")
        await open_conversations(on)
        assert on.screen_text.count("● replying") == 1
        backend.reply_gate.set()
        await on.until(lambda: "● replying" not in on.screen_text)
        assert any("Ctrl+B opens the conversation" in notice for notice in on.notices)
        assert "in another conversation" not in on.screen_text
        (round_,) = store.rounds(writing)
        assert (round_.state, round_.reply) == ("done", "春" * 60)
        await on.pilot.press("enter")
        await on.until(lambda: on.views and on.views[0].reply_text == "春" * 60)


async def test_a_store_that_cannot_be_read_for_tags_is_reported(drive: Any, store: Store) -> None:
    def fail() -> list[str]:
        raise ChatuiError("The database is locked.")

    async with drive(store=store) as on:
        await open_conversations(on)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "tags", fail)
            await on.pilot.press("alt+t")
            await on.until(lambda: "The database is locked." in on.notices)
        assert isinstance(on.app.screen, ConversationPicker)
