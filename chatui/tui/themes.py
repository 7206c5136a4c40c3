"""chatui's own colours: ink and cinnabar on night, and on paper."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="chatui",
    primary="#e0795f",
    secondary="#c8a46a",
    accent="#86b8a6",
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
        "input-selection-background": "#86b8a6 35%",
        "screen-selection-background": "#86b8a6 35%",
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
    accent="#2f6f60",
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
        "input-selection-background": "#2f6f60 30%",
        "screen-selection-background": "#2f6f60 30%",
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
