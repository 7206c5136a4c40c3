"""Folded thoughts and plugin commands, in streaming and finished replies."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
from saved_conversations import add_conversation
from scripted_backend import ScriptedBackend

from chatui.conversation.store import Store
from chatui.messages import Prefill
from chatui.tui.reply_blocks import ReplyBlocks

THOUGHT = "<think>\n好的，先想一想。\n</think>\n\n春风又绿江南岸"
MOSS = (
    "<|Inner Thoughts|>: 需要查一下<eot>\n<|Commands|>: Search('春')<eoc>\n"
    "<|Results|>: None<eor>\n<|MOSS|>: 春天来了。"
)
RAW = ("<think", "</think", "<|", "<eo")


def shown(blocks: ReplyBlocks) -> list[tuple[str, str]]:
    return [(block.name, block.text.text) for block in blocks.blocks]


def test_thoughts_are_folded_to_one_line() -> None:
    blocks = ReplyBlocks(THOUGHT, 1000)
    assert shown(blocks) == [("fold", "▸ Thoughts · 8 characters"), ("reply", "春风又绿江南岸")]
    blocks.toggle_all()
    assert shown(blocks) == [
        ("fold", "▾ Thoughts · 8 characters"),
        ("folded", "好的，先想一想。"),
        ("reply", "春风又绿江南岸"),
    ]
    blocks.toggle(0)
    assert [name for name, _ in shown(blocks)] == ["fold", "reply"]
    assert blocks.raw == THOUGHT


def test_a_plugin_reply_is_an_answer_with_two_folded_parts() -> None:
    assert shown(ReplyBlocks(MOSS, 1000)) == [
        ("fold", "▸ Inner thoughts · 5 characters"),
        ("fold", "▸ Plugin commands · 11 characters"),
        ("reply", "春天来了。"),
    ]


@pytest.mark.parametrize("reply", [THOUGHT, MOSS, "没有标记 a < b，<b>不是</b>"])
def test_a_growing_reply_never_shows_marks(reply: str) -> None:
    for seed in range(30):
        generator = random.Random(seed)
        blocks = ReplyBlocks("", 1000, is_complete=False)
        left = reply
        while left:
            size = generator.randint(1, 6)
            blocks.append(left[:size])
            left = left[size:]
            if reply != "没有标记 a < b，<b>不是</b>":
                assert not any(mark in blocks.text for mark in RAW), blocks.text
        assert blocks.raw == reply
        blocks.set_text(reply)
        assert shown(blocks) == shown(ReplyBlocks(reply, 1000))


@pytest.mark.parametrize("end", ["", "\n", " \n\n\u3000", "\x0b", "<", " \r\n"])
def test_a_stripped_end_equals_a_new_reply(end: str) -> None:
    for seed in range(20):
        dice = random.Random(seed)
        text = "".join(dice.choice("春风，又绿 a-b\n\n\t") for _ in range(dice.randrange(80)))
        blocks = ReplyBlocks("", 1000, is_complete=False)
        blocks.append(text + end)
        for kept in (text + end, (text + end).rstrip()):
            blocks.end(kept, is_complete=True)
            assert blocks.raw == kept
            rows = [row.text.rstrip() for row in blocks.blocks[0].text.rows]
            anew = ReplyBlocks(kept, 1000).blocks[0].text.rows
            assert rows == [row.text.rstrip() for row in anew]


@pytest.mark.parametrize("end", ["", "\n"])
def test_ending_a_long_reply_is_fast(end: str) -> None:
    text = "床前明月光，疑是地上霜。\n" * 3900 + "完"
    costs = []
    for _ in range(3):
        blocks = ReplyBlocks("", 50_000, is_complete=False)
        blocks.append(text + end)
        _ = blocks.blocks[0].text.rows
        began = time.thread_time()
        blocks.end(text, is_complete=True)
        costs.append(time.thread_time() - began)
        assert blocks.text == text
    assert min(costs) < 0.005


def test_markdown_is_switched_in_a_reply_with_folded_parts() -> None:
    reply = "<think>想</think>\n\n# **题**"
    blocks = ReplyBlocks(reply, 1000, is_markdown=True)
    assert blocks.text.endswith("\n题")
    blocks.is_markdown = False
    blocks.set_text(reply)
    assert blocks.text.endswith("\n# **题**")


def test_a_plain_reply_is_one_block() -> None:
    blocks = ReplyBlocks("", 1000, is_complete=False)
    blocks.append("春风\n")
    assert len(blocks.blocks[0].text.rows) == 2
    assert blocks.append("又绿") == 1
    assert shown(blocks) == [("reply", "春风\n又绿")]
    assert not blocks.has_folds


async def test_streaming_shows_the_fold_then_the_answer(drive: Any) -> None:
    async with drive([THOUGHT]) as on:
        on.backend.hold_after = THOUGHT.index("一想")
        await on.send("写诗")
        await on.until(lambda: on.views and "Thinking" in on.views[0].reply_text)
        on.backend.reply_gate.set()
        await on.until(lambda: "春风" in on.screen_text)
        assert "先想" not in on.screen_text
        await on.settled()
        assert "<think>" not in on.screen_text
        assert on.rounds[0].reply == THOUGHT, "the store keeps it as it was written"
        assert "▸ Thoughts · 8 characters" in on.screen_text


async def test_f4_and_a_click_open_and_fold(drive: Any) -> None:
    async with drive([THOUGHT, "好"]) as on:
        await on.pilot.press("f4")
        await on.pilot.pause()
        assert any("no thoughts" in notice for notice in on.notices)
        await on.ask("写诗")
        await on.ask("再来")
        await on.pilot.press("f4")
        await on.pilot.pause()
        assert "先想一想" in on.screen_text
        await on.pilot.press("f4")
        await on.pilot.pause()
        assert "先想一想" not in on.screen_text
        row = next(y for y, line in enumerate(on.screen_text.split("\n")) if "▸ Thoughts" in line)
        await on.pilot.click(offset=(4, row))
        await on.pilot.pause()
        assert "先想一想" in on.screen_text


async def test_copying_all_gives_the_exact_text(drive: Any) -> None:
    async with drive([THOUGHT]) as on:
        await on.ask("写诗")
        on.app.screen.text_select_all()
        await on.pilot.press("ctrl+c")
        assert THOUGHT in on.app.clipboard


async def test_a_saved_plugin_reply_is_folded_too(drive: Any) -> None:
    store = Store(None)
    add_conversation(store, ("春天呢", MOSS))
    async with drive(store=store) as on:
        await on.until(lambda: "Ctrl+O" in on.screen_text)
        await on.pilot.press("ctrl+o")
        await on.until(lambda: "春天来了。" in on.screen_text)
        assert "▸ Plugin commands" in on.screen_text
        assert "<|" not in on.screen_text


async def test_thoughts_opened_by_the_prompt_are_folded(drive: Any, monkeypatch: Any) -> None:
    async with drive(["想着呢</think>好"]) as on:
        generate = on.backend.generate

        async def opened(request: Any) -> Any:
            async for event in generate(request):
                yield (
                    Prefill("<|user|>写诗<|assistant|><think>\n")
                    if isinstance(event, Prefill)
                    else event
                )

        monkeypatch.setattr(on.backend, "generate", opened)
        on.backend.hold_after = 2
        on.box.set_query("写诗")
        await on.pilot.press("enter")
        await on.until(lambda: on.views and "Thinking" in on.views[0].reply_text)
        assert "想着" not in on.views[0].reply_text
        on.backend.reply_gate.set()
        await on.settled()
        assert on.views[0].reply_text.endswith("好")
        assert on.rounds[0].reply == "<think>\n想着呢</think>好"
        await on.pilot.press("ctrl+r")
        await on.until(lambda: on.views and "Thinking" in on.views[0].reply_text)
        await on.pilot.press("escape")
        on.backend.reply_gate.set()
        await on.settled()
        on.backend.hold_after = None
        # In a reopened conversation, stopped thoughts are still thoughts and not the answer.
        stopped = on.rounds[0].reply
        assert stopped.startswith("<think>\n想") and "</think>" not in stopped
        await on.ask("再来")
        assert on.backend.requests[-1].history == ()


async def test_f5_switches_thinking(drive: Any) -> None:
    backend = ScriptedBackend(["好"])
    backend.can_switch_thinking = True
    async with drive(backend=backend) as on:
        await on.until(lambda: on.app.turns.loaded)
        for think, words in ((False, "thinking off"), (True, "thinking on"), (None, "")):
            await on.pilot.press("f5")
            assert (on.app.turns.think, on.status.thinking) == (think, words)
            assert words in on.status.facts()
        await on.pilot.press("f5")
        on.box.set_query("问")
        await on.pilot.press("enter")
        await on.until(lambda: backend.requests)
        assert backend.requests[0].think is False


async def test_f5_without_a_thinking_switch_is_explained(drive: Any) -> None:
    async with drive() as on:
        await on.until(lambda: on.app.turns.loaded)
        await on.pilot.press("f5")
        assert on.app.turns.think is None
        assert any("cannot be switched" in notice for notice in on.notices)
