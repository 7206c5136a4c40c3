"""Hints on getting adapters, and the remaining time of a load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.widgets import Input

from chatui.catalog.library import adapter_presets_for
from chatui.messages import Loading
from chatui.tui.screens.adapter_picker import AdapterPicker, how_to_get_adapters
from chatui.tui.screens.questions import LineQuestion
from chatui.tui.turn_messages import LoadProgress
from chatui.tui.widgets.status_line import progress_text


def test_presets_that_are_an_adapter_on_a_base() -> None:
    assert "luotuo" in adapter_presets_for("yahma/llama-7b-hf")
    assert "luotuo" in adapter_presets_for("huggyllama/llama-7b")
    assert "camelbell" in adapter_presets_for("chatglm-6b")
    assert adapter_presets_for("shiyou") == adapter_presets_for("nonsense") == ()


def test_how_to_get_an_adapter_is_one_sentence() -> None:
    fetched = how_to_get_adapters("ChatGLM-6B", "chatglm-6b", ("camelbell",))
    assert "chatui pull camelbell" in fetched and "--model chatglm-6b" in fetched
    made = how_to_get_adapters("诗友", "shiyou", ())
    assert "chatui tune" in made and made.count(". ") == 0


async def test_f3_says_how_to_get_one_and_takes_a_folder(drive: Any, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4}', encoding="utf-8")
    (mine / "adapter_model.safetensors").write_bytes(b"x" * 100)
    async with drive(size=(40, 12)) as on:
        await on.pilot.press("f3")
        await on.until(lambda: isinstance(on.app.screen, AdapterPicker))
        await on.until(lambda: "chatui tune" in on.screen_text)
        for path in (tmp_path / "nothing", "long" * 100, mine):
            await on.pilot.press("ctrl+l")
            await on.until(lambda: isinstance(on.app.screen, LineQuestion))
            on.app.screen.query_one(Input).value = str(path)
            await on.pilot.press("enter")
            await on.until(lambda: isinstance(on.app.screen, AdapterPicker))
        await on.until(lambda: "1 ● mine" in on.screen_text)
        assert all(any(name in each for each in on.notices) for name in ("nothing", "longlong"))


def test_a_load_says_how_long_it_still_takes() -> None:
    assert "0:30 left" in progress_text(1_000_000, 4_000_000, 10)
    for done, seconds in ((1_000_000, 0.1), (0, 10), (4_000_000, 10)):
        assert "left" not in progress_text(done, 4_000_000, seconds)
    assert "MB" in progress_text(1_000_000, 4_000_000)


async def test_the_last_line_counts_down(drive: Any) -> None:
    async with drive(size=(120, 30)) as on:
        await on.settled()
        chat, spec = on.app.screen, on.app.turns.spec
        chat.handle_turn_message(LoadProgress(spec, Loading("", 0, 10**9)))
        chat._load_began -= 10
        chat.handle_turn_message(LoadProgress(spec, Loading("", 10**8, 10**9)))
        assert "1:30 left" in on.status.activity and "100/1000 MB" in on.status.activity
