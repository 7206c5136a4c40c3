"""Editing by grapheme cluster and by Chinese word, in the query box and in every dialog."""

from __future__ import annotations

import builtins
import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import forked_engine
import pytest
from real_terminal import RealTerminal
from textual.events import Key
from textual.geometry import Offset
from textual.widgets import Input

from chatui.conversation.store import Store
from chatui.tui.editing import LineInput, grapheme_start, is_typed_text, word_end, word_start
from chatui.tui.screens.chat import ChatScreen
from chatui.tui.screens.questions import LineQuestion
from chatui.tui.terminal_input import TerminalInput

CLUSTERS = ("👨‍👩‍👧", "🇨🇳", "👍🏽", "e\u0301", "1️⃣", "각", "\u1100\u1161\u11a8", "葛\U000e0100")
UNUSUAL = "甲\u3000乙\u00a0丙\u200d丁\u200c\ue000戊\ufe0f"


def words(text: str) -> list[str]:
    """Split ``text`` where Ctrl+→ stops."""
    cuts = [0]
    while cuts[-1] < len(text):
        cuts.append(word_end(text, cuts[-1]))
    return [text[a:b] for a, b in pairwise(cuts)]


def test_words_of_chinese_latin_and_marks() -> None:
    assert words("今天天气很好") == ["今天", "天气", "很", "好"]
    assert words("去北京，use vLLM 0.9！") == [
        "去",
        "北京",
        "，",
        "use",
        " vLLM",
        " 0",
        ".",
        "9",
        "！",
    ]
    assert words("天安门") == ["天安门"]
    assert word_start("今天天气很好", 6) == 5
    assert word_start("写诗 ", 3) == 0


def test_every_hanzi_is_a_word_without_the_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "rjieba":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert words("今天 ok") == ["今", "天", " ok"]


def typed(text: str) -> str:
    """Return the text that a field receives when a terminal sends ``text``."""
    keys = [event for event in TerminalInput().feed(text) if isinstance(event, Key)]
    return "".join(event.character or "" for event in keys if is_typed_text(event))


def test_every_character_that_a_terminal_sends_is_typed() -> None:
    text = UNUSUAL + "".join(CLUSTERS)
    assert typed(text) == text
    assert typed("a\x01\x7f\tb\x1b[A") == "ab"


async def press_text(on: Any, text: str) -> None:
    for event in TerminalInput().feed(text):
        on.app.post_message(event)
    await on.pilot.pause()


async def test_unusual_characters_are_sent_as_typed(drive: Any) -> None:
    async with drive(["好"]) as on:
        await press_text(on, UNUSUAL + "👨‍👩‍👧")
        assert on.box.query_text == UNUSUAL + "👨‍👩‍👧"
        await on.pilot.press("enter")
        await on.settled()
        assert on.backend.requests[0].query == UNUSUAL + "👨‍👩‍👧"


async def test_a_cluster_can_be_typed_before_one_that_it_would_join(drive: Any) -> None:
    async with drive() as on:
        await press_text(on, "👩")
        await on.pilot.press("home")
        await press_text(on, "👨\u200dx")
        assert on.box.query_text == "👨\u200dx👩"
        box = await renaming(on)
        await press_text(on, "👩")
        await on.pilot.press("home")
        await press_text(on, "👨\u200dx")
        assert box.value == "👨\u200dx👩"


async def test_control_characters_are_shown(drive: Any) -> None:
    async with drive() as on:
        await press_text(on, "a\u202eb\u2028c")
        assert on.box.query_text == "a\u202eb\u2028c"
        assert "a\ufffdb␤c" in on.screen_text
        box = await renaming(on)
        await press_text(on, "a\u202eb\u2028c")
        assert box.value == "a\ufffdb c"


async def test_a_dialog_takes_pastes_exactly_but_on_one_line(drive: Any) -> None:
    async with drive() as on:
        box = await renaming(on)
        await press_text(on, "\x1b[200~甲\u3000乙  丙\n\t丁\n\x1b[201~")
        assert box.value == "甲\u3000乙  丙 丁"


async def test_the_query_box_moves_by_cluster(drive: Any) -> None:
    async with drive() as on:
        for cluster in CLUSTERS:
            on.box.set_query("")
            await press_text(on, f"甲{cluster}{cluster}乙")
            await on.pilot.press("left", "left", "delete")
            assert on.box.query_text == f"甲{cluster}乙"
            await on.pilot.press("backspace")
            assert on.box.query_text == "甲乙"
            await press_text(on, cluster)
            await on.pilot.press("shift+left", "x")
            assert on.box.query_text == "甲x乙"


async def test_the_cursor_is_never_inside_a_cluster(drive: Any) -> None:
    async with drive() as on:
        await press_text(on, "ab👨‍👩‍👧")
        await on.pilot.press("ctrl+j", *"abcd", "up")
        column = on.box.cursor_location[1]
        assert column == grapheme_start(on.box.document[0], column + 1) or column in (2, 7)


async def test_the_query_box_moves_by_word(drive: Any) -> None:
    async with drive() as on:
        await on.pilot.press(*"今天天气很好")
        await on.pilot.press("ctrl+w", "ctrl+w")
        assert on.box.query_text == "今天天气"
        await on.pilot.press("ctrl+left", "ctrl+w")
        assert on.box.query_text == "天气"
        await on.pilot.press("ctrl+right", *"很好", "home", "ctrl+delete")
        assert on.box.query_text == "很好"
        await on.pilot.press("home", "ctrl+shift+right", "x")
        assert on.box.query_text == "x好"


async def renaming(on: Any) -> LineInput:
    """Open a dialog, and return its input."""
    on.app.push_screen(LineQuestion("?", ""))
    await on.pilot.pause()
    box = on.app.screen.query_one(Input)
    assert isinstance(box, LineInput)
    return box


async def test_a_dialog_moves_by_cluster(drive: Any) -> None:
    async with drive() as on:
        box = await renaming(on)
        for cluster in CLUSTERS:
            await press_text(on, f"甲{cluster}{cluster}乙")
            await on.pilot.press("left", "left", "delete")
            assert box.value == f"甲{cluster}乙"
            await on.pilot.press("backspace")
            assert box.value == "甲乙"
            box.value = ""
        await press_text(on, UNUSUAL)
        assert box.value == UNUSUAL


async def test_a_dialog_moves_by_word(drive: Any) -> None:
    async with drive() as on:
        box = await renaming(on)
        await on.pilot.press(*"今天天气很好", "ctrl+w", "ctrl+backspace", "ctrl+left")
        assert (box.value, box.cursor_position) == ("今天天气", 2)
        await on.pilot.press("ctrl+delete")
        assert box.value == "今天"
        await on.pilot.press("home", "ctrl+shift+right", "x")
        assert box.value == "x"


async def opened_list(on: Any, key: str) -> Input:
    await on.pilot.press(key)
    await on.pilot.pause(0.05)
    box: Input = on.app.screen.query_one(Input)
    return box


@pytest.mark.parametrize("opening", ["question", "ctrl+b", "f2"])
async def test_the_terminal_cursor_is_at_the_caret(drive: Any, opening: str) -> None:
    """Input methods open their window at the terminal's cursor."""
    async with drive(size=(60, 20)) as on:
        box = await (renaming(on) if opening == "question" else opened_list(on, opening))
        x, y, width, _ = box.content_region
        cells = {"": 0, "ab": 2, "春风ab": 6, "👨‍👩‍👧🇨🇳": 4, "长" * 80: width - 1}
        for text, before_the_caret in cells.items():
            await press_text(on, text)
            assert on.app.cursor_position == Offset(x + before_the_caret, y)
            await on.pilot.press("home")
            await on.pilot.pause()
            assert on.app.cursor_position == Offset(x, y)
            box.value = ""
            await on.pilot.pause()
        await press_text(on, "长" * 20)
        await on.resize(30, 20)
        await on.pilot.pause()
        assert on.app.cursor_position == Offset(box.content_region.right - 1, y)


SIZES = ((0, 24), (1, 1), (2, 3), (6, 24), (9, 3))


@pytest.mark.usefixtures("drawn")
async def test_no_width_is_too_small(drive: Any) -> None:
    async with drive(["春风\n\n" + "又绿江南岸 " * 9], size=(60, 20)) as on:
        await on.ask("甲" * 30)
        for key in ("", "f1", "f2", "f3", "ctrl+b"):
            if key:
                await on.pilot.press(key)
            for size in SIZES:
                await on.resize(*size)
            await on.pilot.press("escape")
        assert isinstance(on.app.screen, ChatScreen)
        await on.resize(80, 24)
        assert "又绿江南岸" in on.screen_text


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pseudo-terminal")
def test_a_real_terminal_types_and_shrinks(home: Path, engines: None) -> None:
    terminal = RealTerminal(forked_engine.CHATUI, CHATUI_HOME=str(home))
    terminal.until_shown("/512")
    terminal.type("甲\u3000乙👨\u200d👩\u200d👧🇨🇳\ue000")
    terminal.until_shown("甲\u3000乙")
    terminal.type("\x7f\x7f")
    for columns, rows in ((6, 24), (1, 1), (3, 2), (0, 0), (2, 24), (80, 1)):
        terminal.child.setwinsize(rows, columns)
        terminal.read(0.1)
        assert terminal.child.isalive(), (columns, rows)
    terminal.resize(80, 24)
    terminal.press("enter")
    terminal.until_shown("▌")
    terminal.press("ctrl+q")
    assert terminal.end() == 0
    with closing(Store(home / "conversations.db")) as store:
        conversation = store.last_conversation()
        assert conversation is not None
        assert store.rounds(conversation.id)[0].query == "甲\u3000乙👨\u200d👩\u200d👧"
