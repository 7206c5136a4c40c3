"""Long conversations: rounds are laid out lazily, and the visible rows do not jump."""

from __future__ import annotations

import random
import re
import time
from typing import Any

import pytest
from saved_conversations import add_conversation
from textual.events import Click
from textual.geometry import Offset

from chatui.conversation.store import Store
from chatui.tui.widgets.round_layout import RoundLayout, Viewport
from chatui.tui.widgets.round_list import RoundList
from chatui.tui.widgets.round_view import RoundView, Shape

ROUNDS = 25
LONG = "".join(f"- 第 {number} 行，东风吹雨过春城\n" for number in range(1500))


def long_store(rounds: int = ROUNDS, reply: str = "reply {n}\n" * 4) -> Store:
    store = Store(None)
    add_conversation(store, *((f"query {n}", reply.format(n=n)) for n in range(rounds)))
    return store


async def open_conversation(on: Any) -> None:
    await on.until(lambda: "Continue the last conversation" in on.screen_text)
    await on.pilot.press("ctrl+o")
    await on.until(lambda: on.views)
    await on.pilot.pause(0.05)


def rows_of(on: Any) -> list[str]:
    """The rows of the conversation on the screen, without the scroll bar."""
    region = on.conversation.region
    strips = on.app.screen._compositor.render_strips()[region.y : region.bottom]
    return [strip.crop(0, region.width - 2).text.rstrip() for strip in strips]


def is_visible(on: Any, number: int) -> bool:
    return bool(re.search(rf"▌ query {number}\b", on.screen_text))


def laid_out_count(on: Any) -> int:
    return sum(view.shape is not None for view in on.views)


async def test_only_rounds_near_the_viewport_are_laid_out(drive: Any) -> None:
    async with drive(store=long_store(1000)) as on:
        await on.until(lambda: "Continue the last conversation" in on.screen_text)
        started = time.process_time()
        await open_conversation(on)
        assert time.process_time() - started < 2
        assert len(on.views) == 1000
        assert "reply 999" in on.screen_text
        assert on.conversation.scroll_y == on.conversation.max_scroll_y
        on.conversation.scroll_home(animate=False)
        await on.until(lambda: is_visible(on, 0))
        await on.pilot.pause(0.1)
        assert 6 < laid_out_count(on) < 40


@pytest.mark.parametrize("reply", ["reply {n}\n" * 4, "# {n}\n\n" + "- 春 **风**\n\n" * 3, "{n}"])
async def test_scrolling_up_by_pages_shows_every_round(drive: Any, reply: str) -> None:
    async with drive(store=long_store(reply=reply)) as on:
        await open_conversation(on)
        await on.pilot.press("alt+m")
        await on.pilot.pause(0.05)
        seen: set[int] = set()
        list_ = on.conversation.query_one(RoundList)
        for _ in range(400):
            await on.until(lambda: list_.round_layout.next_incomplete(list_._viewport, 0) is None)
            rows = rows_of(on)
            seen.update(map(int, re.findall(r"▌ query (\d+)", "\n".join(rows))))
            if on.conversation.scroll_y == 0:
                break
            on.conversation.scroll_pages(-1)
            await on.pilot.pause(0.01)
        # No page was jumped over when estimates above it were wrong.
        assert seen == set(range(ROUNDS))


async def test_a_new_round_scrolls_to_the_end(drive: Any) -> None:
    async with drive(["好"], store=long_store()) as on:
        await open_conversation(on)
        on.conversation.scroll_pages(-1)
        on.conversation.scroll_home(animate=False)
        await on.until(lambda: is_visible(on, 0))
        await on.ask("and now")
        await on.until(lambda: "▌ and now" in on.screen_text)
        assert len(on.backend.requests[-1].history) == ROUNDS


async def test_choosing_a_distant_round_scrolls_to_it(drive: Any) -> None:
    async with drive(store=long_store(reply="春\n" * 30)) as on:
        await open_conversation(on)
        for number in (3, 20, 4, 0, 24):
            on.conversation.choose_round(on.views[number].round.id)
            await on.until(lambda number=number: is_visible(on, number))


async def test_a_resize_keeps_the_round_at_the_top(drive: Any) -> None:
    async with drive(store=long_store(reply="春风又绿江南岸，" * 40)) as on:
        await open_conversation(on)
        on.conversation.choose_round(on.views[15].round.id)
        await on.until(lambda: is_visible(on, 15))
        for width in (60, 100, 41, 80):
            await on.resize(width, 24)
            await on.pilot.pause(0.05)
            assert "▌ query 15" in on.screen_text


async def test_the_visible_rows_stay_while_a_long_reply_above_is_laid_out(drive: Any) -> None:
    store = Store(None)
    add_conversation(store, ("甲", LONG), ("乙", "好"), ("丙", "\n".join("天地玄黄宇宙洪荒日月")))
    async with drive(store=store) as on:
        await open_conversation(on)
        await on.pilot.press("alt+m")
        await on.pilot.pause()
        on.conversation.scroll_pages(-1)
        await on.pilot.pause()
        rows = rows_of(on)
        await on.until(lambda: on.conversation.max_scroll_y > 1500)
        assert rows_of(on) == rows
        on.conversation.scroll_home(animate=False)
        await on.until(lambda: "第 0 行" in on.screen_text)


async def test_a_selection_spans_rounds_and_a_double_click_selects_one(drive: Any) -> None:
    async with drive(store=long_store(3, "# {n}\n\n**粗** {n}")) as on:
        await open_conversation(on)
        await on.pilot.press("alt+m")
        await on.pilot.pause()
        rows = on.screen_text.split("\n")
        first = next(y for y, row in enumerate(rows) if "query 1" in row)
        last = next(y for y, row in enumerate(rows) if "query 2" in row)
        await on.pilot.mouse_down(offset=(3, first))
        await on.pilot.hover(offset=(8, last))
        await on.pilot.mouse_up(offset=(8, last))
        text = on.app.screen.get_selected_text()
        assert text.startswith("query 1\n") and text.endswith("\nquery ")
        assert "# 1\n\n**粗** 1" in text
        list_ = on.conversation.query_one(RoundList)
        at = Offset(6, first) - list_.region.offset
        list_.post_message(Click(list_, *at, 0, 0, 1, False, False, False, chain=2))
        await on.pilot.pause()
        text = on.app.screen.get_selected_text()
        assert text.startswith("query 1\n") and text.endswith("**粗** 1")


def row_at(layout: RoundLayout, row: int) -> tuple[int, str] | None:
    """The round at a row, and the text there; None where nothing is laid out."""
    index = layout.index_at(row)
    view, inside = layout.views[index], row - layout.tops[index]
    place = view.part_at(inside) if view.shape == layout.shape else None
    return None if place is None else (index, place.text.rows[inside - place.top].text)


@pytest.mark.parametrize("seed", range(3))
def test_the_lazy_layout_shows_the_same_rows_as_a_complete_one(seed: int) -> None:
    dice = random.Random(seed)
    parts = ("春风 {n}\n", "- {n}\n  > 二\n", "```\n{n}\n```\n", "| a |\n|---|\n| {n} |\n\n")
    replies = [dice.choice(parts) * dice.choice((1, 9, 30, 300)) for _ in range(20)]
    store = Store(None)
    add_conversation(store, *((f"query {n}", text.format(n=n)) for n, text in enumerate(replies)))
    shape = Shape(60, 1)
    layout, whole = RoundLayout(), RoundLayout()
    for each in (layout, whole):
        for round_ in store.rounds(1):
            each.add(RoundView(round_, lambda view, row: None, is_markdown=True))
        each.set_shape(shape, Viewport(None, 20))
    assert whole.lay_out(Viewport(0, 10**6), 0, 60)
    for _ in range(15):
        top = dice.randint(0, layout.tops[-1] - 20)
        layout.lay_out(Viewport(top, 20), 0, 60)
        top, layout.shift = top + layout.shift, 0
        seen = [row_at(layout, top + row) for row in range(20)]
        while layout.lay_out(Viewport(top, 20), 20, 0):
            assert [row_at(layout, top + layout.shift + row) for row in range(20)] == seen
        index = layout.index_at(top + layout.shift)
        inside = top + layout.shift - layout.tops[index]
        assert [row_at(whole, whole.tops[index] + inside + row) for row in range(20)] == seen
        layout.shift = 0


@pytest.mark.usefixtures("drawn")
async def test_an_idle_screen_draws_no_frames(drive: Any) -> None:
    frames = 0

    def count() -> None:
        nonlocal frames
        frames += 1

    async with drive(store=long_store(), size=(120, 30)) as on:
        await open_conversation(on)
        await on.pilot.press("pageup", "f8")
        await on.until(lambda: "below" in on.screen_text and "Prompt" in on.screen_text)
        await on.pilot.pause(0.5)
        on.app.post_display_hook = count
        await on.pilot.pause(0.5)
    assert frames == 0
