"""chatui's own colours: ink and cinnabar on night and on paper, high contrast, and none."""

from __future__ import annotations

from typing import Any

from textual.app import App
from textual.filter import Monochrome, NoColor
from textual.theme import Theme

DARK = Theme(
    name="chatui",
    primary="#e0795f",
    secondary="#c8a46a",
    accent="#e0795f",
    foreground="#dedad0",
    background="#15171b",
    surface="#1d2026",
    panel="#272b33",
    success="#86b8a6",
    warning="#d9a441",
    error="#e0645c",
    dark=True,
    variables={
        "block-cursor-foreground": "#15171b",
        "block-cursor-background": "#e0795f",
        "block-cursor-text-style": "none",
        "input-selection-background": "#e0795f 30%",
        "screen-selection-background": "#e0795f 30%",
        "border": "#e0795f",
        "border-blurred": "#3a3f49",
        "scrollbar": "#3a3f49",
        "scrollbar-hover": "#4a505c",
        "scrollbar-active": "#e0795f",
        "scrollbar-background": "#15171b",
        "scrollbar-background-hover": "#15171b",
        "scrollbar-background-active": "#15171b",
        "scrollbar-corner-color": "#15171b",
    },
)

LIGHT = Theme(
    name="chatui-light",
    primary="#b0402a",
    secondary="#8a6a2f",
    accent="#b0402a",
    foreground="#2c2a26",
    background="#faf6ee",
    surface="#f1ebdf",
    panel="#e6decf",
    success="#2f6f60",
    warning="#9a6b00",
    error="#b3261e",
    dark=False,
    variables={
        "block-cursor-foreground": "#faf6ee",
        "block-cursor-background": "#b0402a",
        "block-cursor-text-style": "none",
        "input-selection-background": "#b0402a 22%",
        "screen-selection-background": "#b0402a 22%",
        "border": "#b0402a",
        "border-blurred": "#cfc5b2",
        "scrollbar": "#cfc5b2",
        "scrollbar-hover": "#b9ad96",
        "scrollbar-active": "#b0402a",
        "scrollbar-background": "#faf6ee",
        "scrollbar-background-hover": "#faf6ee",
        "scrollbar-background-active": "#faf6ee",
        "scrollbar-corner-color": "#faf6ee",
    },
)

HIGH_CONTRAST = Theme(
    name="chatui-contrast",
    primary="#ffff00",
    secondary="#00ffff",
    accent="#00ff00",
    foreground="#ffffff",
    background="#000000",
    surface="#1c1c1c",
    panel="#0000c0",
    success="#00ff00",
    warning="#ffff00",
    error="#ff8080",
    dark=True,
    variables={
        "foreground-muted": "#ffffff",
        "text-muted": "#ffffff",
        "text-disabled": "#d0d0d0",
        "foreground-disabled": "#d0d0d0",
        "block-cursor-foreground": "#000000",
        "block-cursor-background": "#ffff00",
        "block-cursor-text-style": "bold",
        "input-cursor-background": "#ffff00",
        "input-cursor-foreground": "#000000",
        "input-selection-background": "#0000c0",
        "screen-selection-background": "#0000c0",
        "border": "#ffff00",
        "border-blurred": "#ffffff",
        "scrollbar": "#ffffff",
        "scrollbar-hover": "#ffff00",
        "scrollbar-active": "#ffff00",
        "scrollbar-background": "#000000",
        "scrollbar-background-hover": "#000000",
        "scrollbar-background-active": "#000000",
        "scrollbar-corner-color": "#000000",
    },
)

NO_COLOR_RULES = """
*:nocolor > .option-list--option-highlighted,
*:nocolor > .text-area--cursor, *:nocolor > .text-area--selection,
*:nocolor > .input--cursor, *:nocolor > .input--selection,
*:nocolor > .screen--selection { text-style: reverse; }
FindBar:nocolor:focus, SystemRow:nocolor:focus, TokenPanel:nocolor:focus .wrote-title,
ColumnView:nocolor.-chosen .title { text-style: reverse; }
RoundList:nocolor > .round--chosen { text-style: bold; }
RoundList:nocolor > .markup--differs, TokenRows:nocolor > .tokens--unlikely
    { text-style: underline; }
TokenRows:nocolor > .tokens--rare { text-style: bold underline; }
"""
"""What colour shows elsewhere: where one is, what is selected, what differs or is unlikely."""


def prepare(app: App[Any]) -> None:
    """Give an app chatui's themes; with NO_COLOR in the environment, only text styles are left.

    See https://no-color.org; Textual by itself would write shades of grey.
    """
    for theme in (DARK, LIGHT, HIGH_CONTRAST):
        app.register_theme(theme)
    if app.no_color:
        app._filters = [
            NoColor() if isinstance(each, Monochrome) else each for each in app._filters
        ]
        app.stylesheet.add_source(NO_COLOR_RULES, ("themes.py", "NO_COLOR_RULES"))
