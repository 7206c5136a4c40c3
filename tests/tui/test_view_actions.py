"""The tree of a conversation (Alt+T), the context use (Alt+W), and keys in the status line."""

from __future__ import annotations

from typing import Any

import pytest
from driven import Driven
from rich.cells import cell_len
from saved_conversations import add_conversation, add_round

from chatui.conversation.rounds import RenderedPrompt, Round
from chatui.conversation.store import Store
from chatui.tui.context_use import describe, measure_context_use, meter
from chatui.tui.screens.picker import MAX_DEPTH, TreePicker, tree_rows


def a_round(id_: int, parent: int | None, query: str = "问", reply: str = "答") -> Round:
    return Round(id_, 1, parent, query, reply, "done")


def tree_store() -> tuple[Store, int]:
    """甲 with two versions; the first goes on with 乙, of which there are two."""
    store = Store(None)
    id_ = add_conversation(store, ("甲", "一"), ("乙", "二"))
    first, second = store.rounds(id_)
    add_round(store, id_, first.id, "乙改", "三")
    add_round(store, id_, None, "甲改", "四")
    store.set_head(id_, second.id)
    return store, id_


def test_only_versions_are_indented() -> None:
    rounds = [a_round(1, None), a_round(2, 1), a_round(3, 2), a_round(4, 2), a_round(5, 3)]
    assert [(prefix, round_.id) for round_, prefix in tree_rows(rounds)] == [
        ("", 1), ("", 2), ("├ ", 3), ("│ ", 5), ("└ ", 4)
    ]  # fmt: skip


def test_a_deep_tree_is_flattened_to_fit_the_screen() -> None:
    rounds = [a_round(1, None)]
    for id_ in range(2, 4000, 2):
        rounds += [a_round(id_, rounds[-2 if id_ > 2 else 0].id), a_round(id_ + 1, 1)]
        rounds[-1] = a_round(id_ + 1, rounds[-2].parent_id)
    assert max(len(prefix) for _, prefix in tree_rows(rounds)) <= 2 * MAX_DEPTH + 2
    assert len(tree_rows(rounds)) == len(rounds)


@pytest.mark.parametrize("size", [(140, 45), (40, 12)])
async def test_the_tree_switches_branches(drive: Any, size: tuple[int, int]) -> None:
    store, id_ = tree_store()
    async with drive(store=store, size=size) as on:
        await on.app.screen.open_conversation(id_)
        assert [view.round.query for view in on.views] == ["甲", "乙"]
        await on.pilot.press("alt+t")
        await on.until(lambda: "└ ○ 甲改" in on.screen_text)
        lines = on.screen_text.splitlines()
        found = [line for line in lines if "○" in line or "●" in line]
        starts = [line[line.index(query) - 5 :].strip() for line, query in zip(
            found, ("甲", "乙", "乙改", "甲改"), strict=True)]  # fmt: skip
        assert [start.split()[0] for start in starts] == ["├", "├", "└", "└"]
        await on.pilot.press("down", "enter")
        await on.settled()
        assert [view.round.query for view in on.views] == ["甲", "乙改"]
        await on.pilot.press("alt+t", *"甲改")
        await on.until(lambda: len(on.app.screen.shown) == 1)
        await on.pilot.press("enter")
        await on.settled()
        assert [view.round.query for view in on.views] == ["甲改"]
        assert store.conversation(id_).head_id == on.views[0].round.id


async def test_the_tree_chooses_a_round_and_refuses_to_leave_a_running_reply(drive: Any) -> None:
    store, id_ = tree_store()
    async with drive(["春风"], store=store, size=(100, 30)) as on:
        await on.app.screen.open_conversation(id_)
        on.backend.hold_after = 1
        await on.send("丙")
        await on.until(lambda: on.app.turns.is_replying_here)
        await on.pilot.press("alt+t", "up", "up", "enter")
        await on.until(lambda: not isinstance(on.app.screen, TreePicker))
        await on.pilot.press("alt+t", *"甲改", "enter")
        await on.until(lambda: on.notices)
        assert "Esc" in on.notices[-1]
        assert [view.round.query for view in on.views] == ["甲", "乙", "丙"]
        on.backend.reply_gate.set()
        await on.settled()


def test_the_prompts_tokens_are_divided_among_its_rounds() -> None:
    rounds = [a_round(1, None, "甲" * 10, "乙" * 10), a_round(2, 1, "丙", "")]
    rounds += [a_round(3, 2, "丁" * 30, "戊" * 10), a_round(4, 3, "己" * 20, "庚")]
    use = measure_context_use(rounds, 120, 1, 100)
    assert use is not None
    assert (use.numbers, use.tokens, use.dropped) == ((3, 4), (80, 40), 1)
    assert use.free_tokens(130, 300) == 70 and use.rounds_to_drop(130, 300) == 0
    assert use.free_tokens(210, 300) == -10 and use.rounds_to_drop(210, 300) == 1
    text = " ".join(describe(use, 130, 300))
    assert "rounds 3 to 4" in text and "1 older round is" in text and "up to 70 tokens" in text
    assert "The next query drops round 3" in " ".join(describe(use, 210, 300))
    assert (
        measure_context_use(rounds, 0, 0, 100) is None and measure_context_use([], 9, 0, 1) is None
    )


def test_the_meter_has_a_part_for_each_round() -> None:
    rounds = [a_round(1, None, "甲" * 10, "乙" * 10), a_round(2, 1, "丙" * 20, "丁")]
    use = measure_context_use(rounds, 80, 0, 10)
    parts = meter(use, 120, 160, 16)
    assert [text for text, _ in parts] == ["━━━━", "━━━━━━━━", "╌╌╌╌"]
    assert len({style for _, style in parts}) == 3
    full = meter(use, 150, 160, 16)
    assert full[0][1] == "$warning" and full[-1][0] == "╌"
    assert meter(None, 0, 0, 16) == []


async def test_without_a_known_limit_the_used_tokens_are_told_alone(drive: Any) -> None:
    async with drive() as on:
        await on.ask("甲")
        on.status.context_limit = 0
        await on.pilot.press("alt+w")
        await on.until(lambda: on.notices)
        assert on.notices[-1].startswith("11 tokens are used: prompt 10 (4 from the cache)")


async def test_a_click_on_the_meter_shows_the_context_use(drive: Any) -> None:
    async with drive(["春风又绿江南岸"], size=(100, 24)) as on:
        await on.ask("写诗")
        await on.ask("再来")
        await on.until(lambda: on.status.context is not None)
        assert "━" in on.screen_text.splitlines()[-1]
        column = on.screen_text.splitlines()[-1].index("━")
        await on.pilot.click(on.status, offset=(column, 0))
        await on.until(lambda: on.notices)
        assert "round 1, “写诗”" in on.notices[-1] and "17 of 512" in on.notices[-1]
        on.app.clear_notifications()
        await on.pilot.press("alt+w")
        await on.until(lambda: on.notices)


async def test_dropped_rounds_of_an_opened_conversation_are_known(drive: Any) -> None:
    async with drive(["一"], size=(100, 24)) as on:
        for query in ("甲", "乙", "丙"):
            on.backend.dropped_rounds = 1 if query == "丙" else 0
            await on.ask(query)
        await _open_again(on)
        assert on.status.context is not None and on.status.context.numbers == (2, 3)


async def _open_again(on: Driven) -> None:
    id_ = on.app.turns.current.id
    await on.pilot.press("ctrl+n")
    await on.until(lambda: on.status.context is None)
    await on.app.screen.open_conversation(id_)
    await on.until(lambda: on.status.context is not None)


async def test_the_status_line_shows_clickable_keys_of_the_focused_widget(drive: Any) -> None:
    async with drive(["春风"], size=(120, 24)) as on:
        await on.ask("写诗")
        on.status.tokens_per_second = 0  # which a busy machine shows, in place of hints
        assert "Ctrl+P" in foot(on) and "Alt+Z" not in foot(on)
        await on.pilot.press("alt+s")
        await on.until(lambda: "Alt+Z preset" in foot(on))
        await on.pilot.press("f8")
        await on.until(lambda: "i table" in foot(on) and "Alt+Z" not in foot(on))
        await click_key(on, "Esc back")
        await on.until(lambda: "Ctrl+P" in foot(on))
        await click_key(on, "Ctrl+P")
        await on.until(lambda: "Find a command" in on.screen_text)
        await on.pilot.click(offset=(2, 3))
        await on.until(lambda: "Find a command" not in on.screen_text)
        await click_key(on, "F1 help")
        await on.until(lambda: "Alt+Enter" in on.screen_text)
        await on.pilot.click(offset=(2, 3))
        await on.until(lambda: "Alt+Enter" not in on.screen_text)


async def test_a_click_on_a_query_chooses_its_round_and_shows_its_keys(drive: Any) -> None:
    async with drive(["春风", "秋雨", "夏"], size=(120, 24)) as on:
        await on.ask("甲")
        await on.ask("乙")
        await on.pilot.click(offset=(5, on.screen_text.split("\n").index(" ▌ 甲")))
        await on.until(lambda: "Alt+E edit" in foot(on))
        await click_key(on, "Alt+Y copy")
        await on.until(lambda: on.app.clipboard == "春风")
        await on.pilot.click(offset=(5, on.screen_text.split("\n").index(" ▌ 甲")))
        await on.until(lambda: "Ctrl+P" in foot(on))
        await on.pilot.press("alt+up")
        await on.until(lambda: "Ctrl+R regenerate" in foot(on))
        await click_key(on, "Ctrl+R regenerate")
        await on.settled()
        assert [round_.reply for round_ in on.rounds] == ["春风", "夏"]
        assert "Ctrl+P" in foot(on)


def foot(on: Driven) -> str:
    return on.screen_text.splitlines()[-1]


async def click_key(on: Driven, words: str) -> None:
    await on.pilot.click(offset=(foot(on).index(words), 23))


async def test_the_token_panel_shows_the_engines_memory_of_stored_rounds(drive: Any) -> None:
    store = Store(None)
    id_ = add_conversation(store, ("你好", "春風"))
    (first,) = store.rounds(id_)
    store.save_prompt(first.id, RenderedPrompt("你好", memory_bytes=1_500_000_000))
    async with drive(store=store, size=(120, 30)) as on:
        await on.app.screen.open_conversation(id_)
        await on.pilot.press("f8")
        await on.until(lambda: "engine memory 1.5 GB" in on.screen_text)


async def test_a_click_on_the_arrows_beside_the_model_switches_versions(drive: Any) -> None:
    store, id_ = tree_store()
    async with drive(store=store, size=(100, 30)) as on:
        await on.app.screen.open_conversation(id_)
        await on.until(lambda: "‹ 1/2 ›" in on.screen_text)
        await click_arrow(on, "›")
        await on.until(lambda: "‹ 2/2 ›" in on.screen_text)
        shown = [view.round.query for view in on.views]
        assert shown in (["甲改"], ["甲", "乙改"])
        await click_arrow(on, "‹")
        await on.until(lambda: "‹ 1/2 ›" in on.screen_text)


async def click_arrow(on: Driven, arrow: str) -> None:
    rows = on.screen_text.splitlines()
    row = next(index for index, line in enumerate(rows) if arrow in line)
    await on.pilot.click(offset=(cell_len(rows[row][: rows[row].index(arrow)]), row))
    await on.settled()
