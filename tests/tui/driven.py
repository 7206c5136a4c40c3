"""A running app with shortcuts for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripted_backend import ScriptedBackend
from textual._context import visible_screen_stack
from textual.app import App
from textual.geometry import Size
from textual.pilot import Pilot
from textual.strip import Strip

from chatui.conversation.rounds import Round
from chatui.conversation.store import Store
from chatui.tui.app import ChatApp
from chatui.tui.widgets.conversation_view import ConversationView
from chatui.tui.widgets.query_box import QueryBox
from chatui.tui.widgets.round_view import RoundView
from chatui.tui.widgets.status_line import StatusLine


def rows_of(app: App[Any]) -> list[Strip]:
    """Return the rows of the screen as a terminal would receive them."""
    visible_screen_stack.set(app._background_screens)
    return app.screen._compositor.render_strips()


@dataclass
class Driven:
    """A running app with shortcuts for tests."""

    app: ChatApp
    pilot: Pilot[None]
    backend: ScriptedBackend
    store: Store

    @property
    def box(self) -> QueryBox:
        return self.app.screen_stack[0].query_one(QueryBox)

    @property
    def conversation(self) -> ConversationView:
        return self.app.screen_stack[0].query_one(ConversationView)

    @property
    def status(self) -> StatusLine:
        return self.app.screen_stack[0].query_one(StatusLine)

    @property
    def views(self) -> list[RoundView]:
        return self.conversation.views

    @property
    def rounds(self) -> tuple[Round, ...]:
        current = self.app.turns.conversation
        assert current is not None
        return self.store.rounds(current.id)

    @property
    def screen_text(self) -> str:
        """The text of the screen, row by row."""
        return "\n".join(strip.text.rstrip() for strip in rows_of(self.app))

    @property
    def notices(self) -> list[str]:
        return [notification.message for notification in self.app._notifications]

    async def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait until a condition holds."""

        async def poll() -> None:
            while not condition():  # noqa: ASYNC110  # the condition may be anything
                await asyncio.sleep(0.01)

        if not condition():
            # Poll without the pilot's pause, which sends a message to each widget.
            await asyncio.wait_for(poll(), seconds)
            await self.pilot.pause(0)

    async def until_shown(self, *texts: str) -> None:
        """Wait until one of ``texts`` is on the screen."""
        for _ in range(1000):
            if any(text in self.screen_text for text in texts):
                return
            # Rendering the screen is slow, so poll less often than `until`.
            await asyncio.sleep(0.03)
        raise TimeoutError(f"{texts} did not come; on the screen:\n{self.screen_text}")

    async def settled(self) -> None:
        await self.pilot.pause()
        await self.until(lambda: not self.app.turns.is_busy)
        await self.pilot.pause(0.05)

    async def resize(self, width: int, height: int) -> None:
        """Resize the terminal, and wait until the screen has the new size."""
        await self.pilot.resize_terminal(width, height)
        # On a busy machine the pilot returns before the new size has been handled.
        if size := Size(width, height):
            await self.until(lambda: self.app.screen._compositor.size == size)

    async def send(self, query: str) -> None:
        """Put a query into the box and send it."""
        self.box.set_query(query)
        await self.pilot.press("enter")

    async def ask(self, query: str) -> None:
        """Put a query into the box, send it, and wait for the end of its reply."""
        await self.send(query)
        await self.settled()
