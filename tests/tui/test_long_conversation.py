"""A conversation of hundreds of rounds: the last ones at once, the others as one scrolls up."""

from __future__ import annotations

import re
import time
from typing import Any

from saved_conversations import add_conversation

from chatui.conversation.store import Store
from chatui.tui.widgets.conversation_view import ROUNDS_AT_ONCE

ROUNDS = 70


def long_store() -> Store:
    store = Store.in_memory()
    add_conversation(store, *((f"query {n}", f"reply {n}\n" * 4) for n in range(ROUNDS)))
    return store


async def open_it(on: Any) -> None:
    await on.until(lambda: "Go on with" in on.screen_text)
    await on.pilot.press("ctrl+o")
    await on.until(lambda: on.views)
    await on.pilot.pause(0.05)


async def test_only_the_last_rounds_are_mounted(drive: Any) -> None:
    async with drive(store=long_store()) as on:
        await on.until(lambda: "Go on with" in on.screen_text)
        started = time.process_time()
        await open_it(on)
        assert time.process_time() - started < 2
        assert len(on.views) == ROUNDS_AT_ONCE
        assert f"reply {ROUNDS - 1}" in on.screen_text
        assert on.conversation.scroll_y == on.conversation.max_scroll_y


async def test_scrolling_up_loads_earlier_rounds_and_the_text_stays(drive: Any) -> None:
    async with drive(store=long_store()) as on:
        await open_it(on)
        seen: set[int] = set()
        for _ in range(400):
            seen.update(map(int, re.findall(r"▌ query (\d+)", on.screen_text)))
            on.conversation.scroll_pages(-1)
            await on.pilot.pause(0.01)
            await on.until(lambda: not on.conversation._loading_earlier)
            await on.pilot.pause(0.01)
            if on.conversation.scroll_y == 0 and len(on.views) == ROUNDS:
                break
        seen.update(map(int, re.findall(r"▌ query (\d+)", on.screen_text)))
        # No page was jumped over when more was mounted above it.
        assert seen == set(range(ROUNDS))
        assert [view.round.query for view in on.views] == [f"query {n}" for n in range(ROUNDS)]


async def test_a_new_round_forgets_the_far_ones_and_looks_at_the_end(drive: Any) -> None:
    async with drive(["好"], store=long_store()) as on:
        await open_it(on)
        for _ in range(30):
            on.conversation.scroll_pages(-1)
            await on.pilot.pause(0.01)
        assert len(on.views) > ROUNDS_AT_ONCE
        await on.ask("and now")
        assert len(on.views) <= ROUNDS_AT_ONCE + 1
        await on.until(lambda: "▌ and now" in on.screen_text)
        assert len(on.backend.requests[-1].history) == ROUNDS
        for _ in range(40):
            on.conversation.scroll_pages(-1)
            await on.pilot.pause(0.01)
        assert len(on.views) > ROUNDS_AT_ONCE + 1
