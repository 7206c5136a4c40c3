"""Control sequences and unusual characters in text from models and files."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from driven import rows_of
from rich.cells import cell_len
from saved_conversations import add_conversation

from chatui.conversation.store import Store
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.tui.screens.chat import ChatScreen

HOSTILE = (
    "[bold red]markup[/] [@click=app.quit]x[/] \x1b[31mred \x1b]0;t\x07\x1b]8;;http://x\x1b\\ "
    "\x00 \x7f \x9b2J \u202eevil\u2066 \ud800 \u2028 [/nonsense] \\[ $primary"
)
WIDE = "春眠不觉晓，👨‍👩‍👧处处闻啼鸟。𠮷野家 ｶﾞ e\u0301 “引号”——…… ㊗️ 🇨🇳 한국어\tタブ"


def rows(on: Any) -> list[str]:
    """Return the compositor's output for the terminal, with every control sequence."""
    return [strip.text for strip in rows_of(on.app)]


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("streamed", [True, False])
async def test_replies(drive: Any, streamed: bool) -> None:
    store = Store(None)
    add_conversation(store, (HOSTILE, HOSTILE))
    async with drive([[*HOSTILE]], store=store, size=(160, 30)) as on:
        if streamed:
            await on.ask("x")
        else:
            await on.until(lambda: "Continue the last conversation" in on.screen_text)
            await on.pilot.press("ctrl+o")
            await on.pilot.pause(0.05)
        text = on.screen_text
        assert "[bold red]markup[/] [@click=app.quit]x[/] ␛[31mred ␛]0;t␇" in text
        assert "[/nonsense] \\[ $primary" in text
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800]", text)


async def test_names_titles_and_errors(drive: Any) -> None:
    store = Store(None)
    add_conversation(store, (HOSTILE, "x"))
    async with drive(store=store, spec=ModelSpec(HOSTILE, "/m")) as on:
        on.backend.refuse_query = HOSTILE
        await on.ask("x")
        on.app.tell_user(HOSTILE)
        await on.pilot.press("ctrl+b")
        await on.pilot.pause(0.1)
        await on.pilot.press("ctrl+d")
        await on.pilot.pause(0.1)
        text = on.screen_text
        assert "[bold red]" in text
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800]", text)


async def test_wide_characters_never_tear_the_layout(drive: Any) -> None:
    store = Store(None)
    id_ = add_conversation(store, (WIDE, (WIDE + "\n") * 3), ("字" * 300, "字 a" * 200))
    async with drive([WIDE * 5], store=store, size=(57, 24)) as on:
        await on.app.screen.open_conversation(id_)
        await on.ask(WIDE)
        on.box.set_query(WIDE * 3)
        for width in (20, 57, 81):
            await on.resize(width, 24)
            for key in ("", "ctrl+b", "f2", "f1"):
                if key:
                    await on.pilot.press(key)
                    await on.pilot.pause(0.05)
                assert {cell_len(row) for row in rows(on)} == {width}
                if key:
                    await on.pilot.press("escape")


@pytest.mark.usefixtures("drawn")
async def test_a_terminal_of_one_cell(drive: Any) -> None:
    async with drive(["春风又绿"], size=(1, 1)) as on:
        await on.ask("甲")
        for key in ("f1", "escape", "f2", "escape", "ctrl+b", "escape"):
            await on.pilot.press(key)
        assert isinstance(on.app.screen, ChatScreen)
        assert on.rounds[0].reply == "春风又绿"
        await on.resize(80, 24)
        assert "春风又绿" in on.screen_text
        await on.resize(4, 2)


async def test_twenty_by_five_is_usable(drive: Any) -> None:
    async with drive(["春风又绿"], size=(20, 5)) as on:
        await on.ask("甲")
        await on.pilot.press(*"hello")
        await on.pilot.pause(0.05)
        text = on.screen_text
        assert "春风又绿" in text
        assert "hello" in text


@pytest.mark.usefixtures("drawn")
async def test_resizing_in_mid_reply(drive: Any) -> None:
    async with drive(["春风又绿江南岸，" * 60], delay_seconds=0.002) as on:
        await on.pilot.press("a", "enter")
        for width, height in [(40, 10), (20, 5), (120, 40), (33, 7), (80, 24)]:
            await on.resize(width, height)
            await on.pilot.pause(0.1)
            assert {cell_len(row) for row in rows(on)} == {width}
        await on.settled()
        assert on.views[0].reply_text == "春风又绿江南岸，" * 60


async def test_a_round_damaged_in_the_store_is_shown_and_continued(
    drive: Any, tmp_path: Path
) -> None:
    store = Store(tmp_path / "x.db")
    add_conversation(store, ("甲", "春"), ("乙", "夏"))
    junk = json.dumps({"temperature": "hot", "think": [], "changed": 3, "stop_strings": {}})
    with closing(sqlite3.connect(tmp_path / "x.db")) as db, db:
        db.execute("UPDATE rounds SET seed = '7x', sampling = '{', state = 'x' WHERE query = '甲'")
        db.execute("UPDATE rounds SET sampling = ? WHERE query = '乙'", (junk,))
    async with drive(["新"], store=store) as on:
        await on.pilot.press("ctrl+o")
        await on.settled()
        assert [(view.round.query, view.round.reply) for view in on.views] == [
            ("甲", "春"), ("乙", "夏")
        ]  # fmt: skip
        assert say("tui.round.damaged", names="state, seed, sampling") in on.screen_text
        for key in ("f8", "escape", "alt+t", "escape", "alt+w", "escape", "alt+s", "escape"):
            await on.pilot.press(key)
            await on.settled()
        await on.pilot.press("ctrl+r")
        await on.settled()
        assert on.views[-1].round.reply == "新"
