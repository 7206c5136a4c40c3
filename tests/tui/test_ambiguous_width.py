"""``ambiguous_width = 2``: tables, wrapping and boxes on a terminal with wide “ ” …."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path

from chatui.tui.ambiguous_width import IN_ASCII

CODE = """
import asyncio, sys
from driven import Driven
from saved_conversations import SPEC, add_conversation
from scripted_backend import ScriptedBackend
from chatui import locales
from chatui.conversation.store import Store
from chatui.settings import Settings
from chatui.tui.ambiguous_width import IN_ASCII
from chatui.tui.app import ChatApp

TABLE = "| “甲” | 说明 |\\n| --- | --- |\\n| α→β | 一 |\\n| 春🌄é👨‍👩‍👧 | 二 |\\n"

async def main():
    store = Store(None)
    id_ = add_conversation(store, ("问", "“春……”" * 12), ("表", TABLE))
    locales.set_language("zh")
    app = ChatApp(Settings(ambiguous_width=2), SPEC, store, ScriptedBackend())
    async with app.run_test(size=(60, 40)) as pilot:
        on = Driven(app, pilot, app._backend, store)
        await app.screen.open_conversation(id_)
        await pilot.press("alt+m")
        await on.until(lambda: "说明" in on.screen_text and "|" not in on.screen_text)
        print(on.screen_text.translate(IN_ASCII))

asyncio.run(main())
"""
"""A script for a separate process, because it changes how Textual measures text."""


def cells(text: str) -> int:
    """Cells of a text without joined emoji on such a terminal."""
    wide = ("W", "F", "A")
    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in wide)
        for each in text
    )


def test_rows_and_columns_use_the_terminals_widths() -> None:
    path = [str(Path(__file__).parent), *sys.path]
    code = f"import sys; sys.path[:0] = {path!r}\n{CODE}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    rows = done.stdout.splitlines()
    assert max(map(cells, rows)) <= 60
    prose = [row for row in rows if "“春" in row]
    assert len(prose) == 3 and not any(row.strip().startswith("”") for row in prose)
    head, first, second = (
        next(row for row in rows if word in row) for word in ("“甲”", "α→β", "🌄")
    )
    assert cells(head.partition("说明")[0]) == cells(first.partition("一")[0])
    # The family emoji is one cluster of two cells.
    family = second.partition("二")[0].replace("👨‍👩‍👧", "人").replace("\u0301", "")
    assert cells(family) == cells(first.partition("一")[0])
    assert any(row.strip().startswith("+---") for row in rows)


def test_lines_and_blocks_have_ascii_replacements() -> None:
    assert all(text.isascii() and len(text) == 1 for text in IN_ASCII.values())
    assert "╭─╮│▌█━".translate(IN_ASCII) == "+-+||#="
