"""Keys that arrive in one burst, in the order of typing."""

from __future__ import annotations

import time
from typing import Any

import pytest
from textual.events import Key

from chatui import catalog
from chatui.catalog import ModelEntry
from chatui.conversation.rounds import Piece
from chatui.messages import ModelSpec
from chatui.tui.screens import model_picker
from chatui.tui.screens.chat import ChatScreen
from chatui.tui.screens.model_picker import ModelPicker
from chatui.tui.screens.turn_display import MAX_POSTPONED_SECONDS

MODELS = tuple(ModelEntry(name, "preset", name) for name in ("shiyou", "xuxie", "belle"))


@pytest.fixture
def slow_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(settings: Any) -> tuple[ModelEntry, ...]:
        time.sleep(0.2)
        return MODELS

    monkeypatch.setattr(model_picker, "list_models", slowly)
    monkeypatch.setattr(catalog, "resolve", lambda name, settings: ModelSpec(name, f"/m/{name}"))


def burst(on: Any, *keys: str) -> None:
    """Send keys as a terminal's driver does that has read them all at once."""
    for key in keys:
        on.app.post_message(Key(key, key if len(key) == 1 else None))


async def test_typed_characters_and_editing_keys_keep_their_order(drive: Any) -> None:
    async with drive() as on:
        burst(on, *"abc", "backspace", "backspace", *"de", "home", "X", "end", "Y")
        await on.until(lambda: on.box.query_text.endswith("Y"))
        assert on.box.query_text == "XadeY"


async def test_a_search_box_is_emptied_before_the_next_words(
    drive: Any, slow_catalogue: None
) -> None:
    async with drive() as on:
        burst(on, "f2", *"aaaa", "ctrl+a", "ctrl+k", "backspace", *"xuxie")
        await on.until(lambda: isinstance(on.app.screen, ModelPicker))
        await on.until(lambda: [entry.reference for entry in on.app.screen.shown] == ["xuxie"])
        assert on.app.screen.words == "xuxie"


async def test_keys_after_f2_go_to_its_list_and_keys_after_enter_to_the_chat(
    drive: Any, slow_catalogue: None
) -> None:
    async with drive(["一"]) as on:
        burst(on, *"甲", "enter", "f2", *"xux", "enter", *"乙", "enter", *"丙")
        await on.until(lambda: on.box.query_text == "丙")
        await on.settled()
        assert isinstance(on.app.screen, ChatScreen)
        assert [round_.query for round_ in on.rounds] == ["甲", "乙"]
        assert [round_.model for round_ in on.rounds] == ["shiyou", "xuxie"]


async def test_the_arrows_wait_for_the_list(drive: Any, slow_catalogue: None) -> None:
    async with drive() as on:
        burst(on, "f2", "down", "down", "enter")
        await on.until(lambda: on.app.turns.spec.name == "belle")


async def test_a_key_press_postpones_drawing_the_reply_for_a_limited_time(drive: Any) -> None:
    async with drive([list("春风又绿")]) as on:
        on.backend.hold_after = 2
        await on.send("问")
        await on.until(lambda: on.views and "春风" in on.views[-1].reply_text)
        screen, pieces = on.app.screen, on.app.turns.reply.pieces
        pieces.append(Piece(0.1, "吹"))
        on.app.last_key_at = screen._drew_reply_at = time.monotonic()
        screen._draw_reply_when_due()
        assert "春风吹" not in on.views[-1].reply_text
        screen._drew_reply_at -= MAX_POSTPONED_SECONDS
        screen._draw_reply_when_due()
        assert "春风吹" in on.views[-1].reply_text
        on.backend.reply_gate.set()
