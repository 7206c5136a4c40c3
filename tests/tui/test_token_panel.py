"""F8: the token panel, for a running reply and for saved rounds."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import msgspec
import pytest
from saved_conversations import add_conversation

from chatui.conversation.rounds import Piece, RenderedPrompt
from chatui.conversation.store import Store
from chatui.messages import PartialReply
from chatui.readable import percent
from chatui.tui.token_text import generated_pieces, prompt_text, speed_bars, token_table
from chatui.tui.widgets.query_box import QueryBox
from chatui.tui.widgets.token_panel import ALTERNATIVES, TokenPanel
from chatui.tui.widgets.token_rows import TokenRows

CHATGLM = RenderedPrompt(
    text="你好\n<div>",
    input_ids=(5, 74874, 4, 31, 130001, 130004),
    tokens=("▁", "你好", "<n>", "<div", "[gMASK]", "<sop>"),
    position_ids=((0, 1, 2, 3, 4, 4), (0, 0, 0, 0, 0, 1)),
    context_limit=2048,
)
CHATML = RenderedPrompt(
    text="<|im_start|>user\n甲<|im_end|>乙",
    input_ids=(1, 2, 3, 4, 5, 6, 7),
    tokens=("<s>", "<|im_start|>", "user", "Ċ", "çĶ²", "<|im_end|>", "ä¹Ļ"),
)
PIECES = (
    Piece(0.5, "春", 7, math.log(0.9), ((7, "春", 0.9), (8, "秋", 0.06))),
    Piece(0.6, "", 9, math.log(0.4), ((9, "<0xE9>", 0.4),)),
    Piece(0.7, "風", 10, math.log(0.01)),
)


def marked(prompt: RenderedPrompt) -> list[str]:
    text = prompt_text(prompt)
    return [text.plain[span.start : span.end] for span in text.spans if "accent" in str(span.style)]


def test_special_tokens_are_marked_and_brackets_of_the_user_are_not() -> None:
    assert prompt_text(CHATGLM).plain == "你好⏎\n<div>[gMASK]<sop>"
    assert marked(CHATGLM) == ["[gMASK]", "<sop>"]
    assert prompt_text(CHATML).plain == "<s><|im_start|>user⏎\n甲<|im_end|>乙"
    assert marked(CHATML) == ["<s>", "<|im_start|>", "<|im_end|>"]


def test_the_token_table_shows_both_positions_of_chatglm() -> None:
    rows = token_table(CHATGLM).plain.split("\n")
    assert rows[1] == "1/0   74874  '你好'"
    assert rows[5] == "4/1  130004  '<sop>'"


def test_tokens_are_coloured_by_probability() -> None:
    rows = TokenRows()
    rows.show(PIECES, 0, None)
    assert rows.text == "春·風"
    assert rows._row(0).spans == ((1, 2, "less-likely"), (2, 3, "rare"))
    rows.show(PIECES, 0, 2)
    assert rows._row(0).spans == ((1, 2, "less-likely"), (2, 3, "chosen"))


def test_small_probabilities_are_not_shown_as_zero() -> None:
    assert [percent(share) for share in (1, 0.123, 0.0005, 0.0004)] == [
        *("100.0%", "12.3%", "0.1%", "<0.1%")
    ]


@pytest.mark.parametrize("first", [0, 2])
def test_each_cell_maps_to_its_token(first: int) -> None:
    pieces = [Piece(0.1, text) for text in ("春風", "又", "two ", "words", "\n\n", "綠")]
    rows = TokenRows()
    rows.show(pieces, first, None)
    rows._rows.rewrap(7)
    found = [[rows.token_at(x, y) for x in range(7)] for y in range(len(rows._rows.rows))]
    assert (
        found
        == {
            0: [
                [0, 0, 0, 0, 1, 1, None],
                [2, 2, 2, 2, None, None, None],
                [3, 3, 3, 3, 3, 4, None],
                [4] + [None] * 6,
                [5, 5] + [None] * 5,
            ],
            2: [
                [None, 2, 2, 2, 2, None, None],
                [3, 3, 3, 3, 3, 4, None],
                [4] + [None] * 6,
                [5, 5] + [None] * 5,
            ],
        }[first]
    )


def test_the_row_of_a_token() -> None:
    rows = TokenRows()
    rows.show([Piece(0.1, f"{number}\n") for number in range(9)], 6, None)
    assert [rows.row_of(index) for index in (0, 6, 8)] == [0, 0, 2]
    # Forty hanzi to a row of eighty cells.
    rows.show([Piece(0.1, "字") for _ in range(20_000)], 0, None)
    assert rows.row_of(19_999) == 499


def test_speed_bars_show_a_pause() -> None:
    steady = [Piece(0.1 * i, "字") for i in range(48)]
    late = [msgspec.structs.replace(piece, at_seconds=piece.at_seconds + 10) for piece in steady]
    assert speed_bars(steady[:10]) == ""
    assert set(speed_bars(steady)) <= {"▇", "█", "▅", "▄"}
    assert "▁▁▁" in speed_bars([*steady, *late])


def test_the_speed_of_a_continued_reply_counts_new_tokens_only() -> None:
    written = [Piece(0.0001 * index, "旧") for index in range(20)]
    fresh = [Piece(0.4 + 0.1 * index, "新") for index in range(3)]
    assert generated_pieces([*written, *fresh]) == fresh
    assert generated_pieces(fresh) == fresh and generated_pieces(written) == written


async def test_replies_record_candidates_while_the_panel_is_open(drive: Any) -> None:
    async with drive(["春风又绿江南岸"] * 3, size=(120, 30)) as on:
        await on.ask("/seed 11")
        await on.ask("一")
        assert on.backend.requests[-1].alternatives == 0
        await on.pilot.press("f8")
        await on.until(lambda: "Prompt" in on.screen_text)
        box = on.app.screen.query_one(TokenPanel)
        assert on.app.focused is box
        assert on.screen_text.count("seed ") == 1
        await on.pilot.press("escape")
        assert isinstance(on.app.focused, QueryBox)
        await on.ask("二")
        assert on.backend.requests[-1].alternatives == ALTERNATIVES
        await on.until(lambda: box.round == on.rounds[-1])
        await on.pilot.press("f8")
        assert not on.app.screen.query(TokenPanel)
        await on.ask("三")
        assert on.backend.requests[-1].alternatives == 0


async def test_a_prompt_that_is_being_read_is_not_called_lost(drive: Any) -> None:
    async with drive(["春风又绿江南岸"], size=(120, 30)) as on:
        gate, generate = asyncio.Event(), on.backend.generate

        async def late(request: Any) -> Any:
            await gate.wait()
            async for event in generate(request):
                yield event

        on.backend.generate = late
        await on.pilot.press("一", "enter", "f8")
        await on.until(lambda: "Reading" in on.screen_text)
        assert "0 tokens" not in on.screen_text
        gate.set()
        await on.until(lambda: "Reading" not in on.screen_text)


@pytest.mark.parametrize("size", [(120, 40), (40, 12)])
async def test_a_saved_round_is_shown_without_a_model(drive: Any, size: tuple[int, int]) -> None:
    store = Store(None)
    id_ = add_conversation(store, ("你好", "春風"), ("再见", "好"))
    first, _ = store.rounds(id_)
    store.save_prompt(first.id, CHATGLM)
    store.append_pieces(first.id, PIECES)
    async with drive(store=store, size=size) as on:
        await on.app.screen.open_conversation(id_)
        await on.pilot.press("f8")
        await on.until(lambda: "No prompt was saved" in on.screen_text)
        await on.pilot.press("p")
        await on.until(lambda: "[gMASK]<sop>" in on.screen_text)
        await on.pilot.press("right")
        box = on.app.screen.query_one(TokenPanel)
        detail = str(box.query_one(".token").render())
        assert "'春'  id 7  90.0%" in detail and "6.0%  '秋'" in detail
        await on.pilot.press("right", "i")
        assert "'<0xE9>'  id 9  40.0%" in str(box.query_one(".token").render())
        assert "74874" in str(box.query_one(".read").render())
        await on.pilot.press("n", "f8")
        assert not on.app.screen.query(TokenPanel)


@pytest.mark.parametrize("how", ["a digit", "Enter", "a click"])
async def test_a_reply_continues_from_another_candidate(drive: Any, how: str) -> None:
    store = Store(None)
    id_ = add_conversation(store, ("你好", "春風"))
    (first,) = store.rounds(id_)
    store.append_pieces(first.id, (Piece(0.1, "立", 6), *PIECES))
    async with drive(["天來了"], store=store, size=(120, 40)) as on:
        await on.app.screen.open_conversation(id_)
        await on.pilot.press("f8", "right", "right")
        await on.until(lambda: "'秋'" in on.screen_text)
        if how == "a click":
            await on.pilot.click(".token", offset=(3, 2))
        else:
            await on.pilot.press(*(["2"] if how == "a digit" else ["down", "down", "enter"]))
        await on.settled()
        assert on.backend.requests[-1].partial_reply == PartialReply("立", (6,), 8)
        old, new = store.siblings(first.id)
        assert (old.reply, new.reply) == ("春風", "立天來了")
        assert [piece.token_id for piece in store.pieces(new.id)][:1] == [6]


@pytest.mark.parametrize("size", [(120, 24), (40, 12)])
async def test_the_selected_token_stays_visible(drive: Any, size: tuple[int, int]) -> None:
    store = Store(None)
    id_ = add_conversation(store, ("你好", "春風"))
    (first,) = store.rounds(id_)
    words = "天地玄黄宇宙洪荒日月盈昃"
    pieces = [
        Piece(0.1, f"{words[at % 12]}{at}\n", at, -0.1, ((at, "甲", 0.9),)) for at in range(60)
    ]
    store.append_pieces(first.id, pieces)
    async with drive(store=store, size=size) as on:
        await on.app.screen.open_conversation(id_)
        await on.pilot.press("f8", "left")
        await on.until(lambda: "荒19" not in on.screen_text and "昃59" in on.screen_text)
        await on.until_shown("id 59")
        on.app.screen.query_one(TokenPanel).action_select_token(-40)
        await on.until(lambda: "荒19" in on.screen_text and "昃59" not in on.screen_text)
        await on.until_shown("id 19")


async def test_notices_over_the_panel_keep_every_wide_character(drive: Any) -> None:
    async with drive(size=(110, 30), notifications=True) as on:
        await on.pilot.press("f8")
        for sentence in ("鹤" * 40, "a" + "鹤" * 40):
            on.app.tell_user(sentence)
        await on.pilot.pause(0.3)
        assert on.screen_text.count("鹤") == 80
        await on.pilot.press("f8")
        await on.pilot.pause(0.3)
        assert "鹤" * 27 in on.screen_text
