"""Make the pictures of the READMEs: conversations with the embedded model.

    python docs/make_screenshot.py

``screenshot.svg`` is a still picture; ``recording.svg`` shows a reply as it streams, then its
prompt and candidates.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pictures import animated, in_cells

if TYPE_CHECKING:
    from textual.pilot import Pilot

    from chatui.tui.app import ChatApp

QUERIES = ("写一首七言绝句，题目是《春夜》", "换成五言", "写一首藏头诗：平安喜乐")
SEED = 11
TYPED_CHARACTERS = 5
"""Characters typed per frame."""
FRAME_SECONDS = 0.09
"""Seconds between frames of the reply."""


def app() -> ChatApp:
    from chatui import catalog, locales
    from chatui.conversation.store import Store
    from chatui.settings import Settings
    from chatui.tui.app import ChatApp

    settings = Settings()
    spec = catalog.resolve("shiyou", settings)
    spec = replace(spec, sampling=replace(spec.sampling, seed=SEED))
    locales.set_language("zh")
    return ChatApp(settings, spec, Store(None))


async def until_idle(pilot: Pilot[None], shown: ChatApp) -> None:
    await pilot.pause(0.1)
    while shown.turns.is_busy or shown.turns.loaded is None:
        await pilot.pause(0.05)
    await pilot.pause(0.3)


def picture(shown: ChatApp) -> str:
    return in_cells(shown.export_screenshot(title="chatui"))


async def screenshot() -> str:
    """Return a conversation of three rounds as SVG."""
    from chatui.tui.widgets.query_box import QueryBox

    shown = app()
    async with shown.run_test(size=(88, 27)) as pilot:
        for query in QUERIES:
            shown.screen.query_one(QueryBox).set_query(query)
            await pilot.press("enter")
            await until_idle(pilot, shown)
        return picture(shown)


async def recording() -> str:
    """Return a query, its streaming reply and the token panel as an animated SVG."""
    from chatui.tui.widgets.query_box import QueryBox

    shown = app()
    frames: list[tuple[float, str]] = []
    async with shown.run_test(size=(110, 28)) as pilot:
        await until_idle(pilot, shown)
        frames.append((1.5, picture(shown)))
        await pilot.press("f8")
        box = shown.screen.query_one(QueryBox)
        box.focus()
        for end in range(TYPED_CHARACTERS, len(QUERIES[0]) + TYPED_CHARACTERS, TYPED_CHARACTERS):
            box.set_query(QUERIES[0][:end])
            await pilot.pause()
            frames.append((0.35, picture(shown)))
        await pilot.press("enter")
        await pilot.pause(0.05)
        while shown.turns.is_busy:
            frames.append((0.15, picture(shown)))
            await pilot.pause(FRAME_SECONDS)
        await until_idle(pilot, shown)
        frames.append((2.0, picture(shown)))
        await pilot.press("f8", "f8")
        for _ in range(9):
            await pilot.press("right")
            await pilot.pause(0.1)
            frames.append((0.5, picture(shown)))
        frames[-1] = (3.0, frames[-1][1])
    return animated(frames)


def main() -> None:
    folder = Path(__file__).parent
    with tempfile.TemporaryDirectory() as home:
        os.environ["CHATUI_HOME"] = home
        for name, take in (("screenshot", screenshot), ("recording", recording)):
            picture = asyncio.run(take())
            (folder / f"{name}.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
