"""Take ``docs/screenshot.svg``: a conversation with the embedded model, on the real engine.

python docs/make_screenshot.py
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from pictures import widened

QUERIES = ("写一首七言绝句，题目是《春夜》", "换成五言", "写一首藏头诗：平安喜乐")
SEED = 11


async def take() -> str:
    """The picture, as SVG."""
    from chatui import catalog
    from chatui.conversation.store import Store
    from chatui.settings import Settings
    from chatui.tui.app import ChatApp
    from chatui.tui.widgets.query_box import QueryBox

    settings = Settings()
    spec = catalog.resolve("shiyou", settings)
    spec = replace(spec, sampling=replace(spec.sampling, seed=SEED))
    app = ChatApp(settings, spec, Store.in_memory(), language="zh")
    async with app.run_test(size=(88, 27)) as pilot:
        for query in QUERIES:
            app.screen.query_one(QueryBox).set_query(query)
            await pilot.press("enter")
            await pilot.pause(0.1)
            while app.turns.busy:
                await pilot.pause(0.05)
        await pilot.pause(0.3)
        return widened(app.export_screenshot(title="chatui"))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CHATUI_HOME"] = folder
        picture = asyncio.run(take())
    (Path(__file__).parent / "screenshot.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
