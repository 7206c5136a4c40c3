"""The themes of chatui: dark, light and high contrast, and styles without colour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.app import App
from textual.filter import Monochrome, NoColor
from textual.theme import Theme


def _theme(name: str, selection: str, hover: str, *, dark: bool = True, **colours: Any) -> Theme:
    """Create a theme whose accent is also the primary colour by default.

    Args:
        selection: the background of selected text.
        hover: the colour of a scroll bar under the mouse.
        colours: the colours of a Textual theme; ``quiet`` for unfocused borders and scroll bars;
            ``variables`` for further variables.
    """
    background, quiet = colours["background"], colours.pop("quiet")
    accent = colours.setdefault("primary", colours["accent"])
    variables = {
        "block-cursor-foreground": background,
        "block-cursor-background": accent,
        "block-cursor-text-style": "none",
        "input-selection-background": selection,
        "screen-selection-background": selection,
        "border": accent,
        "border-blurred": quiet,
        "scrollbar": quiet,
        "scrollbar-hover": hover,
        "scrollbar-active": accent,
        "scrollbar-background": background,
        "scrollbar-background-hover": background,
        "scrollbar-background-active": background,
        "scrollbar-corner-color": background,
        **colours.pop("variables", {}),
    }
    return Theme(name=name, dark=dark, variables=variables, **colours)


DARK = _theme(
    "chatui",
    "#e0795f 30%",
    "#4a505c",
    secondary="#c8a46a",
    accent="#e0795f",
    foreground="#dedad0",
    background="#15171b",
    surface="#1d2026",
    panel="#272b33",
    quiet="#3a3f49",
    success="#86b8a6",
    warning="#d9a441",
    error="#e0645c",
)
LIGHT = _theme(
    "chatui-light",
    "#b0402a 22%",
    "#b9ad96",
    dark=False,
    secondary="#8a6a2f",
    accent="#b0402a",
    foreground="#2c2a26",
    background="#faf6ee",
    surface="#f1ebdf",
    panel="#e6decf",
    quiet="#cfc5b2",
    success="#2f6f60",
    warning="#9a6b00",
    error="#b3261e",
)
HIGH_CONTRAST = _theme(
    "chatui-contrast",
    "#0000c0",
    "#ffff00",
    primary="#ffff00",
    secondary="#00ffff",
    accent="#00ff00",
    foreground="#ffffff",
    background="#000000",
    surface="#1c1c1c",
    panel="#0000c0",
    quiet="#ffffff",
    success="#00ff00",
    warning="#ffff00",
    error="#ff8080",
    variables={
        "foreground-muted": "#ffffff",
        "text-muted": "#ffffff",
        "text-disabled": "#d0d0d0",
        "foreground-disabled": "#d0d0d0",
        "block-cursor-text-style": "bold",
        "input-cursor-background": "#ffff00",
        "input-cursor-foreground": "#000000",
    },
)


def prepare(app: App[Any]) -> None:
    """Register the themes, and apply NO_COLOR (https://no-color.org).

    With NO_COLOR only text styles are written; Textual by default writes shades of grey.
    """
    for theme in (DARK, LIGHT, HIGH_CONTRAST):
        app.register_theme(theme)
    if app.no_color:
        app._filters = [
            NoColor() if isinstance(each, Monochrome) else each for each in app._filters
        ]
        app.stylesheet.read(Path(__file__).with_suffix(".tcss"))
