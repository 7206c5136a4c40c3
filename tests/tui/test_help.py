"""F1 and the lines of key hints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from saved_conversations import add_conversation
from textual.binding import Binding

from chatui.conversation.store import Store
from chatui.locales import say
from chatui.tui.app import ChatApp
from chatui.tui.keymap import key_label
from chatui.tui.screens import model_picker
from chatui.tui.screens.chat import ChatScreen
from chatui.tui.screens.help import HelpScreen
from chatui.tui.screens.model_picker import ModelPicker
from chatui.tui.screens.picker import ConversationPicker, Picker
from chatui.tui.screens.questions import LineQuestion, YesNoQuestion
from chatui.tui.screens.replay_screen import ReplayScreen
from chatui.tui.widgets.key_line import KeyLine
from chatui.tui.widgets.query_box import QueryBox


async def test_f1_shows_every_key(drive: Any) -> None:
    async with drive(size=(90, 210)) as on:
        await on.pilot.press("f1")
        await on.until(lambda: isinstance(on.app.screen, HelpScreen))
        await on.pilot.pause()
        # A long description goes on in the next row of the frame.
        text = re.sub(r"[│▁-█\s]+", " ", on.screen_text)
        screens = (QueryBox, ChatScreen, ChatApp, Picker, ModelPicker, ConversationPicker)
        for owner in (*screens, ReplayScreen, YesNoQuestion, LineQuestion):
            for binding in owner.__dict__["BINDINGS"]:
                assert isinstance(binding, Binding)
                assert key_label(binding.key) in text
                assert say(binding.description) in text
        await on.pilot.press("escape")
        await on.pilot.pause()
        assert isinstance(on.app.screen, ChatScreen)


async def test_wrapped_lines_of_f1_are_indented(drive: Any) -> None:
    async with drive(size=(84, 340), language="zh") as on:
        await on.pilot.press("f1")
        for width in (84, 40):
            await on.resize(width, 340)
            await on.until_shown(say("tui.help.files"))
            rows = [row for row in on.screen_text.splitlines()[:-2] if row.strip()]
            titles = [row.strip() for row in rows if not row.startswith("    ")]
            assert say("tui.help.writing") in titles and len(titles) == 15
            assert any(row.startswith("      ") for row in rows)


def test_key_labels() -> None:
    assert key_label("ctrl+n") == "Ctrl+N"
    assert key_label("shift+enter,ctrl+j") == "Shift+Enter / Ctrl+J"
    assert key_label("plus,equals_sign,alt+plus") == "+ / = / Alt+Plus"
    assert key_label("escape,f1") == "Esc / F1"
    assert key_label("alt+left") == "Alt+←"


def test_every_stylesheet_is_beside_its_module() -> None:
    folder = Path(model_picker.__file__).parents[1]
    for sheet in folder.rglob("*.tcss"):
        assert sheet.with_suffix(".py").exists()


async def test_a_click_shows_the_key_hints_that_did_not_fit(drive: Any) -> None:
    store = Store(None)
    add_conversation(store, ("甲", "春风"))
    async with drive(store=store, size=(40, 12)) as on:
        on.app.tell_user("what would cover a list as low as this", "information")
        await on.pilot.press("ctrl+b")
        await on.until_shown("甲")
        assert not on.notices
        seen = []
        for _ in range(6):
            line = on.app.screen.query_one(KeyLine)
            words = str(line.render())
            assert cell_len(words) <= line.content_size.width and words.endswith(" · …")
            seen.append(words)
            if "Alt+P pin" in words:
                break
            await on.pilot.click(line, offset=(cell_len(words) + line.gutter.left - 1, 0))
        assert "Enter open" in seen[0]
        await on.pilot.click(line, offset=(words.index("Alt+P") + line.gutter.left, 0))
        await on.until(lambda: store.conversations()[0].pinned)
