"""Themes, terminals without colour, and narrow terminals."""

from __future__ import annotations

from typing import Any

import pytest
from driven import rows_of
from textual.color import Color

from chatui.settings import Settings
from chatui.tui.themes import HIGH_CONTRAST
from chatui.tui.widgets.pick_list import PickList


async def test_a_theme_is_set_by_name(drive: Any) -> None:
    async with drive(settings=Settings(theme="chatui-contrast")) as on:
        assert on.app.theme == "chatui-contrast"
        await on.send("/theme nord")
        await on.until(lambda: on.app.theme == "nord")
        await on.send("/theme nonsense")
        await on.until(lambda: any("chatui-contrast" in notice for notice in on.notices))
        await on.pilot.press("ctrl+t")
        assert on.app.theme == "chatui-light"
        await on.pilot.press("ctrl+t")
        assert on.app.theme == "chatui"


async def test_an_unknown_theme_is_reported(drive: Any) -> None:
    async with drive(settings=Settings(theme="nonsense")) as on:
        await on.until(lambda: any("nonsense" in notice for notice in on.notices))
        assert on.app.theme == "chatui"


def test_the_high_contrast_theme_meets_wcag_aaa() -> None:
    def luminance(name: str) -> float:
        parts = [part / 255 for part in Color.parse(getattr(HIGH_CONTRAST, name)).rgb]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    # WCAG 2.2: the contrast ratio of level AAA.
    for name in ("foreground", "primary", "secondary", "accent", "warning", "error", "success"):
        assert (luminance(name) + 0.05) / (luminance("background") + 0.05) >= 7, name


async def test_without_colour_text_styles_show_the_choice_and_the_differences(
    drive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with drive(["春风又绿", "春风吹绿"], size=(100, 24)) as on:

        def styles_of(text: str) -> set[tuple[bool, ...]]:
            segments = (part for row in rows_of(on.app) for part in row)
            found = (part.style for part in segments if text in part.text and part.style)
            return {(bool(each.bold), bool(each.underline), bool(each.reverse)) for each in found}

        await on.ask("写诗")
        assert styles_of("春风又绿") == {(False, False, False)}
        await on.pilot.press("alt+up")
        await on.until(lambda: styles_of("春风又绿") == {(True, False, False)})
        await on.pilot.press("alt+d")
        await on.until_shown("Already answered")
        await on.pilot.press("down", "enter")
        await on.until(lambda: styles_of("吹") == {(False, True, False)})
        assert styles_of("1  ") == {(False, False, True)}
        assert styles_of("2  ") == {(True, False, False)}
        await on.pilot.press("escape")
        await on.settled()


async def test_no_color_leaves_only_text_styles(
    drive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with drive(["**好**"]) as on:
        await on.ask("写诗")
        await on.pilot.press("ctrl+b")
        await on.until(lambda: isinstance(on.app.screen, PickList) and on.app.screen.highlighted)
        styles = [
            segment.style
            for strip in rows_of(on.app)
            for segment in strip.apply_filter(on.app._filters[-1], Color(0, 0, 0))
            if segment.style is not None
        ]
        assert all(style.color is None or style.color.is_default for style in styles)
        assert all(style.bgcolor is None or style.bgcolor.is_default for style in styles)
        assert any(style.reverse for style in styles), "the highlight is seen"


async def test_narrow_screens_are_compact(drive: Any) -> None:
    async with drive(["床前明月光"], size=(79, 24)) as on:
        await on.ask("静夜思")
        for size in ((79, 24), (40, 12)):
            await on.resize(*size)
            assert on.app.screen.classes & {"-compact", "-short"} == {"-compact"}
            assert "床前明月光" in on.screen_text and "静夜思" in on.screen_text
            assert on.app.screen.max_scroll_x == 0
        await on.resize(120, 30)
        await on.until(lambda: not on.app.screen.has_class("-compact"))
