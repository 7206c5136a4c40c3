"""Alt+S: the settings panel, and presets saved from it."""

from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len

from chatui import catalog, locations
from chatui.catalog.library import save_preset
from chatui.errors import ChatuiError
from chatui.messages import Adapter, ModelSpec
from chatui.sampling import SETTINGS, SamplingSettings
from chatui.settings import Settings
from chatui.tui.editing import LineInput
from chatui.tui.widgets.settings_panel import (
    SLIDER_RANGES,
    SettingSlider,
    SettingsPanel,
    parse_number,
    step_value,
)


def field(on: Any, name: str) -> LineInput:
    found = on.app.screen.query_one(f"#{name}", LineInput)
    assert isinstance(found, LineInput)
    return found


async def test_a_field_applies_to_the_next_reply_and_resets_to_the_preset(drive: Any) -> None:
    async with drive(size=(120, 40)) as on:
        preset = on.app.turns.spec.sampling
        await on.pilot.press("alt+s")
        await on.until(lambda: field(on, "temperature").has_focus)
        assert field(on, "temperature").value == f"{preset.temperature:g}"
        await on.pilot.press("ctrl+u", *"0.25")
        assert on.app.turns.current.changes.sampling == {"temperature": 0.25}
        await on.until(lambda: f"preset: {preset.temperature:g}" in on.screen_text)
        await on.pilot.press("ctrl+u", *"abc")
        assert field(on, "temperature").has_class("-wrong")
        assert on.app.turns.current.changes.sampling == {}
        await on.pilot.press("ctrl+u", *"0.25", "escape")
        assert on.box.has_focus
        await on.ask("甲")
        assert on.backend.requests[-1].sampling.temperature == 0.25
        assert on.rounds[0].sampling["changed"] == ["temperature"]
        field(on, "temperature").focus()
        await on.pilot.press("alt+z")
        assert not on.app.turns.current.changes.sampling
        await on.pilot.press("alt+s")
        assert not on.app.screen.query(SettingsPanel)
        assert on.box.has_focus


async def test_stop_strings_switches_and_the_window_have_fields(drive: Any) -> None:
    async with drive(size=(120, 60)) as on:
        await on.pilot.press("alt+s")
        await on.until(lambda: field(on, "temperature").has_focus)
        field(on, "stop_strings").value = r"问：| \n答"
        field(on, "greedy").value = "on"
        for refused in ("0", "9" * 30, "9" * 5000):
            field(on, "window").value = refused
            await on.until_shown(f"window is {refused[:20]}")
        field(on, "window").value = "300"
        await on.pilot.press("alt+s")
        await on.ask("甲")
        assert on.backend.requests[-1].window == 300
        assert on.backend.requests[-1].stop_strings == ("问：", "\n答")
        assert on.backend.requests[-1].sampling.greedy
        await on.pilot.press("ctrl+n")
        await on.ask("乙")
        assert on.backend.requests[-1].window is None
        await on.app.screen.open_conversation(1)
        await on.ask("丙")
        assert on.backend.requests[-1].window == 300


async def test_the_terminals_cursor_is_in_the_field(drive: Any) -> None:
    async with drive(size=(120, 40)) as on:
        await on.pilot.press("alt+s", "down", "down")
        await on.pilot.pause()
        focused = on.app.focused
        assert isinstance(focused, LineInput)
        focused.value = "中文"
        focused.cursor_position = 2
        await on.pilot.pause()
        x, y, _, _ = focused.content_region
        assert on.app.cursor_position == (x + cell_len("中文"), y)


async def test_a_saved_preset_can_be_loaded(drive: Any) -> None:
    async with drive() as on:
        await on.send("/temp 0.25")
        await on.send("/system 你是“诗人”\n用\\七言")
        await on.send("/save my-poet")
        await on.until(lambda: catalog.library.find("my-poet"))
        found = catalog.resolve("my-poet", Settings())
        spec = on.app.turns.spec
        assert found.sampling.temperature == 0.25
        assert found.system == "你是“诗人”\n用\\七言"
        assert (found.path, found.format, found.family) == (spec.path, spec.format, spec.family)
        await on.send("/save my-poet")
        await on.until(lambda: on.box.query_text == "/save my-poet")


def test_a_preset_keeps_the_whole_spec_and_refuses_invalid_names(home: object) -> None:
    spec = ModelSpec(
        "x", "/models/x", family="llama", format="alpaca:article", eos_ids=(2, 3),
        adapters=(Adapter("/a b/“c”", 0.5, 8, 16.0),), stop_strings=("\n", '"'), think=False,
        sampling=SamplingSettings(top_p=0.5, seed=7, avoid_repeat="，"), context_limit=512,
    )  # fmt: skip
    save_preset("mine", spec)
    preset = catalog.library.find("mine")
    assert preset is not None
    facts = preset.fields
    assert facts.adapters is not None
    assert (facts.adapters[0].path, facts.adapters[0].scale) == ("/a b/“c”", 0.5)
    assert (facts.adapters[0].rank, facts.adapters[0].alpha) == (8, 16.0)
    assert (facts.stop_strings, facts.eos_ids, facts.think) == (("\n", '"'), (2, 3), False)
    assert facts.sampling == {"top_p": 0.5, "seed": 7, "avoid_repeat": "，"}
    for name in ("mine", "shiyou", "../x", "", "A", "a b"):
        with pytest.raises(ChatuiError):
            save_preset(name, spec)
    assert len(list(locations.user_presets_folder().iterdir())) == 1


async def test_arrows_digits_and_the_mouse_change_a_number(drive: Any) -> None:
    async with drive(size=(120, 60)) as on:
        await on.pilot.press("alt+s")
        await on.until(lambda: field(on, "temperature").has_focus)
        preset = on.app.turns.spec.sampling.temperature
        await on.pilot.press("right", "right", "left")
        assert float(field(on, "temperature").value) == pytest.approx(preset + 0.05)
        assert on.app.turns.current.changes.sampling == {
            "temperature": pytest.approx(preset + 0.05)
        }
        await on.pilot.press("down", *"7")
        assert on.app.turns.current.changes.sampling["top_k"] == 7
        slider = next(each for each in on.app.screen.query(SettingSlider) if each.name == "top_k")
        width = slider.size.width
        await on.pilot.mouse_down(slider, offset=(0, 0))
        await on.pilot.hover(slider, offset=(width - 1, 0))
        await on.pilot.mouse_up(slider, offset=(width - 1, 0))
        await on.pilot.pause()
        assert field(on, "top_k").value == "100"
        assert str(slider.render()).endswith("●")
        assert field(on, "top_k").has_focus
        await on.pilot.press("right", "alt+z")
        assert set(on.app.turns.current.changes.sampling) == {"temperature"}


@pytest.mark.parametrize(
    ("name", "value", "steps", "text"),
    [
        ("temperature", 0.9, 1, "0.95"),
        ("temperature", 5, -1, "2"),
        ("top_k", 0, -1, "0"),
        ("top_p", 1, -1, "0.99"),
        ("presence_penalty", 0, -3, "-0.3"),
        ("temperature", 1e308, -1, "2"),
    ],
)
def test_a_step_stays_within_the_slider(name: str, value: float, steps: int, text: str) -> None:
    assert step_value(name, value, steps) == text


def test_a_text_that_is_no_finite_number_has_no_value() -> None:
    assert [parse_number(text) for text in ("0.5", "nan", "-inf", "x")] == [0.5, None, None, None]


def test_every_slider_is_within_the_range_of_its_setting() -> None:
    for name, (least, most, _) in SLIDER_RANGES.items():
        assert SETTINGS[name].allows(least) and SETTINGS[name].allows(most)


@pytest.mark.parametrize("key", ["alt+s", "f8", "alt+l"])
async def test_a_panel_over_the_conversation_is_left_by_its_key_line(drive: Any, key: str) -> None:
    async with drive(["春风"], size=(80, 24)) as on:
        await on.ask("你好")
        for _ in range(2):
            await on.pilot.press(key)
            await on.until(lambda: "春风" not in on.screen_text.split("\n")[5])
            line = on.app.screen.query_one("SidePanel KeyLine")
            assert "Esc back" in str(line.render()) and line.region.bottom == 24
            place = str(line.render()).index("Esc")
            await on.pilot.click(line, offset=(place, 0))
            await on.until_shown("Type here")
            assert "春风" in on.screen_text
        await on.resize(140, 30)
        await on.until(lambda: on.app.screen.query_one("SidePanel").display and not line.display)
