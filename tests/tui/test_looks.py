"""Snapshots of every screen: at 80x24 and 140x45, in both languages; of the light theme, styles.

After a wanted change: ``pytest --snapshot-update`` with this file, and read the difference.
"""

from __future__ import annotations

import random
from itertools import groupby
from typing import Literal

import pytest
import walk
from driven import Driven, rows_of
from rich.cells import cell_len
from rich.style import Style
from syrupy.assertion import SnapshotAssertion
from textual.app import App

from chatui.tui.running_reply import RunningReply
from chatui.tui.screens import model_picker

SIZES = ((80, 24), (140, 45))
SMALL = ((40, 12), (20, 5))
THEMES = DARK, _ = ("chatui", "chatui-light")
Row = list[tuple[str, str]]


@pytest.fixture(autouse=True)
def always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATUI_HOME", "/home/a/.chatui")
    monkeypatch.setattr(model_picker, "list_models", lambda settings: walk.ENTRIES)
    monkeypatch.setattr(random, "randrange", lambda *_: 42)
    monkeypatch.setattr(RunningReply, "tokens_per_second", 50.0)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("language", ["zh", "en"])
async def test_every_screen(language: Literal["zh", "en"], snapshot: SnapshotAssertion) -> None:
    app = walk.app(language)
    differing = []
    async with app.run_test(size=SIZES[0]) as pilot:
        on = Driven(app, pilot, app._backend, app.store)
        async for name in walk.walk(on):
            shown = [(size, theme) for size in SIZES for theme in THEMES]
            # Neighbours differ in size or theme alone, as each change redraws everything.
            shown[2:] = reversed(shown[2:])
            if name == "conversation":
                shown += [(size, DARK) for size in SMALL]
            for size, theme in (*shown, (SIZES[0], DARK)):
                if app.size != size:
                    await on.resize(*size)
                app.theme = theme
                is_light = theme != DARK
                key = "-".join((name, f"{size[0]}x{size[1]}", *(["light"] if is_light else ())))
                # On a busy machine the layout may not be finished; only a finished one is recorded.
                for seconds in (0.3,) if snapshot.update_snapshots else (0.0, 0.1, 0.3, 1.0):
                    await pilot.pause(seconds)
                    if described(rows(app), colours_alone=is_light) == snapshot(name=key):
                        break
                else:
                    differing.append(key)
    assert differing == []


def rows(app: App[object]) -> list[Row]:
    """Return (text, style) of each run of equal style, for every row."""
    found = []
    for strip in rows_of(app):
        runs = groupby(strip, key=lambda segment: named(segment.style))
        found.append([("".join(part.text for part in parts), style) for style, parts in runs])
    return found


def named(style: Style | None) -> str:
    """Return a style's colours and attributes, without its link."""
    return (
        str(style.without_color + Style(color=style.color, bgcolor=style.bgcolor)) if style else ""
    )


def described(shown: list[Row], *, colours_alone: bool) -> str:
    """Describe a screen: its text, its styles, and the cells of each style.

    Args:
        colours_alone: list only the styles, in the order of the screen.
    """
    letters: dict[str, str] = {}
    text, places = [], []
    for number, row in enumerate(shown):
        text.append("".join(run for run, _ in row).rstrip())
        runs = (f"{letter_of(style, letters)}{cell_len(run)}" for run, style in row)
        places.append(f"{number:2} {' '.join(runs)}")
    legend = [f"{letter}: {style}" for style, letter in letters.items()]
    return "\n".join(legend if colours_alone else [*text, "", *legend, *places])


def letter_of(style: str, letters: dict[str, str]) -> str:
    return letters.setdefault(style, chr(ord("a") + len(letters)))
