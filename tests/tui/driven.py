"""A running app, and handles on what a test looks at."""

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
    """The rows of the screen as a terminal would get them now."""
    visible_screen_stack.set(app._background_screens)
    return app.screen._compositor.render_strips()


@dataclass
class Driven:
    """A running app and handles on what a test looks at."""

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
        """All that stands on the screen, row by row."""
        return "\n".join(strip.text.rstrip() for strip in rows_of(self.app))

    @property
    def notices(self) -> list[str]:
        return [notification.message for notification in self.app._notifications]

    async def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait for something that must come soon."""

        async def poll() -> None:
            while not condition():  # noqa: ASYNC110  # a test may look at anything
                await asyncio.sleep(0.01)

        if not condition():
            # The pilot's pause sends each widget a message: far dearer than a look.
            await asyncio.wait_for(poll(), seconds)
            await self.pilot.pause(0)

    async def until_shown(self, *texts: str) -> None:
        """Wait until one of ``texts`` stands on the screen."""
        for _ in range(1000):
            if any(text in self.screen_text for text in texts):
                return
            # Reading the whole screen is dear: not as often as `until` looks.
            await asyncio.sleep(0.03)
        raise TimeoutError(f"{texts} did not come; on the screen:\n{self.screen_text}")

    async def settled(self) -> None:
        await self.pilot.pause()
        await self.until(lambda: not self.app.turns.is_busy)
        await self.pilot.pause(0.05)

    async def resize(self, width: int, height: int) -> None:
        """Give the terminal another size, and wait until the screen has it."""
        await self.pilot.resize_terminal(width, height)
        # On a busy machine the pilot takes a size that waits in a queue for one that is taken.
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
