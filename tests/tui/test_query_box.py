"""The query box: lines, history, long pastes, and the position of the terminal's cursor."""

from __future__ import annotations

import time
from typing import Any

import pytest
from textual import events
from textual.geometry import Offset

HOSTILE = "\x1b]0;owned\x07 \x00 \x1b[2J [bold]b[/bold] \u202eevil \ud800 \u2028 end"
MEGABYTE = {
    "one line": "x" * 1_000_000,
    "one line of hanzi": "字" * 340_000,
    "many lines": "春眠不觉晓，处处闻啼鸟。\n" * 27_000,
    "short lines": "ab\n" * 333_000,
}


def paste(on: Any, text: str) -> None:
    on.box.post_message(events.Paste(text))


async def test_three_keys_insert_a_line_break(drive: Any) -> None:
    async with drive() as on:
        await on.pilot.press("a", "shift+enter", "b", "ctrl+j", "c", "alt+enter", "d")
        assert on.box.query_text == "a\nb\nc\nd"
        assert not on.backend.requests


async def test_the_box_grows_up_to_eight_rows(drive: Any) -> None:
    async with drive() as on:
        heights = []
        for _ in range(14):
            heights.append(on.box.size.height)
            await on.pilot.press("ctrl+j")
            await on.pilot.pause()
        assert heights[0] == 1
        assert heights[1:4] == [2, 3, 4]
        assert heights[-1] == heights[-2] == 8


async def test_arrows_go_through_the_history_and_back_to_the_draft(drive: Any) -> None:
    async with drive() as on:
        await on.ask("first")
        await on.ask("second\nwith two lines")
        await on.pilot.press(*"draft")
        await on.pilot.press("up")
        assert on.box.query_text == "second\nwith two lines"
        await on.pilot.press("up")
        assert on.box.query_text == "second\nwith two lines", "a row up within the text"
        await on.pilot.press("up")
        assert on.box.query_text == "first"
        await on.pilot.press("up")
        assert on.box.query_text == "first"
        await on.pilot.press("down", "down")
        assert on.box.query_text == "draft"


async def test_the_terminal_cursor_is_at_the_text_cursor(drive: Any) -> None:
    """An input method opens its window at the terminal's own cursor."""
    async with drive(["好"], size=(60, 20)) as on:

        async def assert_cursor() -> None:
            await on.pilot.pause()
            region = on.box.content_region
            row = on.box.wrapped_document.location_to_offset(on.box.cursor_location)
            place = on.app.cursor_position
            assert place == region.offset + row - on.box.scroll_offset
            assert region.contains_point(place)

        await assert_cursor()
        await on.pilot.press(*"春风ab")
        await assert_cursor()
        assert on.app.cursor_position.x == on.box.content_region.x + 6
        await on.pilot.press("ctrl+j", "ctrl+j", *"又绿")
        await assert_cursor()
        await on.pilot.press("left", "up")
        await assert_cursor()
        await on.resize(33, 14)
        await assert_cursor()
        await on.pilot.press("ctrl+j", *("ctrl+j",) * 12)
        await assert_cursor()
        on.box.set_query("")
        await on.pilot.press("x", "enter")
        await on.settled()
        await assert_cursor()
        await on.pilot.press("ctrl+b")
        await on.pilot.pause()
        assert on.app.cursor_position != Offset(0, 0)
        assert on.app.cursor_position == on.app.screen.focused.cursor_screen_offset


@pytest.mark.parametrize("kind", MEGABYTE)
async def test_a_pasted_megabyte_does_not_block_and_is_sent_unchanged(
    drive: Any, kind: str
) -> None:
    text = MEGABYTE[kind]
    async with drive() as on:
        started = time.thread_time()
        paste(on, text)
        await on.pilot.press("a")
        await on.pilot.pause()
        assert time.thread_time() - started < 1.0
        assert "pasted text 1" in on.screen_text
        assert on.box.query_text == text + "a"
        on.backend.refuse_query = "The query has 340,000 tokens; 512 fit."
        started = time.thread_time()
        await on.pilot.press("enter")
        await on.settled()
        assert time.thread_time() - started < 2.0
        assert on.backend.requests[-1].query == text + "a"
        assert "512 fit." in on.screen_text
        assert "more characters are not shown" in on.screen_text
        assert on.rounds[0].query == text + "a"


async def test_a_label_is_deleted_and_restored_as_one_character(drive: Any) -> None:
    text = "long " * 2000
    async with drive() as on:
        await on.pilot.press("a")
        paste(on, text)
        await on.pilot.press("b", "left")
        await on.pilot.press("backspace")
        assert on.box.query_text == "ab"
        await on.pilot.press("ctrl+z")
        assert on.box.query_text == f"a{text}b"
        await on.pilot.press("home", "right", "delete")
        assert on.box.query_text == "ab"


async def test_the_cursor_jumps_over_a_label(drive: Any) -> None:
    text = "long " * 2000
    async with drive() as on:
        paste(on, text)
        await on.pilot.press("left", "x")
        assert on.box.query_text == "x" + text
        await on.pilot.press("right", "y")
        assert on.box.query_text == f"x{text}y"


async def test_two_long_pastes_are_sent_and_kept_in_the_history(drive: Any) -> None:
    one, two = "one " * 2000, "two " * 2000
    async with drive() as on:
        paste(on, one)
        paste(on, two)
        await on.pilot.press("enter")
        await on.settled()
        assert on.backend.requests[-1].query == one + two
        await on.pilot.press("up")
        assert on.box.query_text == one + two


async def test_control_characters_are_shown_as_pictures_and_sent_unchanged(drive: Any) -> None:
    async with drive(["got \x1b[31mit[/]"]) as on:
        paste(on, HOSTILE)
        await on.pilot.pause()
        assert on.box.query_text == HOSTILE
        assert "␛]0;owned␇ ␀ ␛[2J [bold]b[/bold] �evil � ␤ end" in on.screen_text
        await on.pilot.press("x")
        await on.pilot.press("enter")
        await on.settled()
        assert on.backend.requests[-1].query == HOSTILE + "x"
        text = on.screen_text
        assert "[bold]b[/bold]" in text
        assert "got ␛[31mit[/]" in text
        assert not set(text) & set("\x1b\x07\x00\u202e\ud800")


async def test_pasted_line_ends_become_newlines(drive: Any) -> None:
    async with drive() as on:
        paste(on, "a\r\nb\rc\nd")
        await on.pilot.pause()
        assert on.box.query_text == "a\nb\nc\nd"


async def test_cut_text_is_pasted_with_ctrl_v(drive: Any) -> None:
    async with drive() as on:
        paste(on, "\x1b春\ud800")
        await on.pilot.press("f7", "ctrl+x", "ctrl+v", "ctrl+v")
        assert on.box.query_text == "\x1b春\ufffd" * 2
