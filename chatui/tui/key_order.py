"""Keys take effect in the order in which they were typed, however fast they come.

Textual hands every key to the focused box at once, and looks for its binding only when the key has
come up again from there to the app. Of ``ab⌫c`` in one burst (a slow line, an input method, a
macro) the ``c`` is typed before the ``⌫`` deletes, and what follows F2 goes to the wrong screen.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from textual.app import App
from textual.dom import DOMNode
from textual.events import Key
from textual.widgets import Input, TextArea

from chatui.tui.editing import is_typed_text

PATIENCE_SECONDS = 0.5
"""A key waits no longer than this for what was typed before it."""


def is_text(event: Key, focused: DOMNode | None) -> bool:
    """Whether a key only adds to what is typed into the focused box, which keeps the order."""
    return is_typed_text(event) and isinstance(focused, Input | TextArea)


async def settle(node: DOMNode) -> None:
    """Wait until a widget, and then all around it up to its screen, took in what they were sent."""
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(_settle(node), PATIENCE_SECONDS)


async def _settle(node: DOMNode) -> None:
    for pump in node.ancestors_with_self:
        if isinstance(pump, App):
            return
        done = asyncio.Event()
        if pump.is_running and pump.call_later(done.set):
            await done.wait()
