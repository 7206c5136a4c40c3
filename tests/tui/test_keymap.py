"""Key bindings in the settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from textual.binding import Binding

from chatui.locales import say
from chatui.settings import Settings, load_settings
from chatui.tui.keymap import binding_name, key_label
from chatui.tui.screens.chat import ChatScreen
from chatui.tui.screens.chat_layout import ChatLayout
from chatui.tui.screens.help import HelpScreen


async def test_keys_are_bound_by_the_settings(drive: Any) -> None:
    settings = Settings(keys={"regenerate": "f12", "conversations": "ctrl+l,f10"})
    async with drive(["一", "二"], settings=settings, size=(140, 190)) as on:
        await on.ask("写诗")
        await on.pilot.press("ctrl+r")
        await on.settled()
        assert len(on.backend.requests) == 1, "the old key does nothing"
        await on.pilot.press("f12")
        await on.settled()
        assert len(on.backend.requests) == 2
        assert "Ctrl+L / F10 conversations" in on.screen_text, "the last line"
        assert "F12" in say("tui.hint.stop_first") and "Ctrl+R" not in say("tui.hint.stop_first")
        await on.pilot.press("f1")
        await on.until(lambda: isinstance(on.app.screen, HelpScreen))
        words = re.escape(say("tui.keys.regenerate"))
        await on.until(lambda: re.search("F12 +" + words, on.screen_text))
        assert not re.search("Ctrl.R +" + words, on.screen_text)
    async with drive() as on:
        assert "Ctrl+R" in say("tui.hint.stop_first"), "another app has its own"


async def test_invalid_bindings_are_reported_and_skipped(drive: Any) -> None:
    keys = {"nonsense": "f12", "think": "ctrl+nokey", "fold": 5, "markdown": "", "help": "f9"}
    async with drive(["一"], settings=Settings(keys=keys)) as on:
        await on.pilot.press("f9")
        await on.until(lambda: isinstance(on.app.screen, HelpScreen))
        for wrong in ("nonsense", "ctrl+nokey", "fold", "markdown"):
            assert sum(wrong in notice for notice in on.notices) == 1
        await on.until(lambda: any("chat_model" in notice for notice in on.notices))


def test_the_settings_file(home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "settings.toml").write_text('[keys]\nfind = "f12"\n', encoding="utf-8")
    assert load_settings().keys == {"find": "f12"}


def test_the_usage_page_names_every_key_and_what_it_does() -> None:
    folder = Path(__file__).parents[2] / "docs"
    pages = [(folder / f"usage{end}.md").read_text(encoding="utf-8") for end in ("", ".zh-CN")]
    owners = [each for each in ChatScreen.__mro__ if issubclass(each, ChatLayout)]
    for binding in (binding for each in owners for binding in each.__dict__.get("BINDINGS", ())):
        assert isinstance(binding, Binding)
        for name in (*key_label(binding.key).split(" / "), f"`{binding_name(binding)}`"):
            assert all(name in page for page in pages), name
