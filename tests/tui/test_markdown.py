"""Replies as Markdown, streaming and from the store, at several widths."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from rich.cells import cell_len
from saved_conversations import SPEC, add_conversation

from chatui.conversation.store import Store
from chatui.messages import ModelSpec
from chatui.tui.markdown import inline
from chatui.tui.markdown.code_colours import START, colour_line
from chatui.tui.markdown.inline import close_open_marks, read_inline
from chatui.tui.markdown.markdown_text import MarkdownText

TALKER = ModelSpec("talker", "/m")
REPLY = """## 水果 `x`
**注意：**按[价格](https://a.b/价?x=1_2)排序
下一行

1. 苹果
   - 红的
2. 香蕉

> 引用
> > 更深

| 名称 | 数量 | 备注 👨‍👩‍👧 |
|:-----|----:|:--:|
| 苹果 | 12 | **好** |
| 香蕉e\u0301 | 3 | `a\\|b` |

```python
def f(x):
    return "甲"  # 注释
```
---
$$
a_1 * b_1
$$
公式 $a*b*c$，<b>不是粗体</b>，|x| = 5
"""
PIECES = (
    *("|", "-", "*", "`", "```", "\n", "\n", "a", "字", " ", "> ", "#", "1. ", "$$", "~~", "["),
    *("a | b\n", "|---|---|\n", "| 春 | 秋 |\n", "|---\n"),
)


def shown(text: MarkdownText) -> list[tuple[str, str]]:
    return [
        ("".join(before for before, _ in row.prefix) + row.text.rstrip(), row.style)
        for row in text.rows
    ]


def looks(text: MarkdownText) -> list[Any]:
    return [(row.text.rstrip(), row.spans, row.style, row.prefix) for row in text.rows]


def test_all_constructs() -> None:
    assert shown(MarkdownText(REPLY, 60)) == [
        ("水果 x", "heading2"),
        ("注意：按价格 (https://a.b/价?x=1_2)排序", ""),
        ("下一行", ""),
        ("", ""),
        ("1. 苹果", ""),
        ("   ◦ 红的", ""),
        ("2. 香蕉", ""),
        ("", ""),
        ("│ 引用", "quote"),
        ("│ │ 更深", "quote"),
        ("", ""),
        ("名称   数量  备注 👨‍👩‍👧", "table-head"),
        ("─────  ────  ───────", "rule"),
        ("苹果     12    好", ""),
        ("香蕉e\u0301     3    a|b", ""),
        ("", ""),
        ("python", "code-head"),
        ("def f(x):", "code"),
        ('    return "甲"  # 注释', "code"),
        ("─" * 60, "rule"),
        ("$$", ""),
        ("a_1 * b_1", ""),
        ("$$", ""),
        ("公式 $a*b*c$，<b>不是粗体</b>，|x| = 5", ""),
    ]


@pytest.mark.parametrize(
    ("source", "words", "style"),
    [
        ("**注意：**请看", "注意：", "strong"),
        ("说**“重点”**后面", "“重点”", "strong"),
        ("a *b* c", "b", "emphasis"),
        ("用`a*b`吧", "a*b", "code"),
        ("~~删~~去", "删", "struck"),
        ("价 $a_1*b*c$ 元", "$a_1*b*c$", "formula"),
        ("看 \\(x^2\\)", "\\(x^2\\)", "formula"),
        ("![图](http://x/y.png)", " (http://x/y.png)", "target"),
        ("[银行](http://evil.example)", " (http://evil.example)", "target"),
    ],
)
def test_marks_inside_a_line(source: str, words: str, style: str) -> None:
    text, spans = read_inline(source)
    assert (words, style) in [(text[start:end], name) for start, end, name in spans]


@pytest.mark.parametrize(
    "source", ["2 * 3 * 4", "snake_case_name", "<script>x</script>", "$5 和 $6"]
)
def test_literal_marks_are_kept(source: str) -> None:
    assert read_inline(source) == (source, ())


@pytest.mark.parametrize(
    ("line", "probably"),
    [
        ("**注意", "**注意**"),
        ("**注意*", "**注意**"),
        ("用 `co", "用 `co`"),
        ("[a](http://", "[a](http://)"),
        ("##", ""),
        ("- ", ""),
        ("42", "42"),
        ("a_b", "a_b"),
        ("*a **b", "*a **b***"),
    ],
)
def test_the_end_of_an_unfinished_line(line: str, probably: str) -> None:
    assert close_open_marks(line) == probably


@pytest.mark.parametrize("seed", range(24))
def test_growing_text_ends_like_complete_text(seed: int) -> None:
    dice = random.Random(seed)
    source = REPLY if seed < 8 else "".join(dice.choice(PIECES) for _ in range(250))
    width = dice.choice([10, 20, 33, 60])
    text = MarkdownText("", width, is_complete=False)
    left = source
    while left:
        size = dice.randint(1, 6)
        before = list(text.rows)
        first = text.append(left[:size])
        assert text.rows[:first] == before[:first]
        left = left[size:]
    text.strip_end()
    assert looks(text) == looks(MarkdownText(source.rstrip(), width))
    assert all(cell_len(row.text.rstrip()) <= max(width, 2) for row in text.rows)


def test_rows_above_a_growing_line_or_table_do_not_change() -> None:
    text = MarkdownText("# 题\n一行\n", 40, is_complete=False)
    above = list(text.rows)
    for character in "| 名 | 数 |\n|---|---|\n| 苹果 | 12 |\n| 一个很长的名字 | **3":
        text.append(character)
        assert text.rows[: len(above)] == above
    assert [row.text for row in text.rows[2:]] == [
        "名              数",
        "──────────────  ──",
        "苹果            12",
        "一个很长的名字  3",
    ]


def test_a_line_that_is_no_delimiter_row_begins_no_table() -> None:
    assert [row for row, _ in shown(MarkdownText("a | b\n|---\nc", 24))] == ["a | b", "|---", "c"]


def test_columns_widened_by_an_unfinished_row_that_is_none_are_narrowed_again() -> None:
    source = "> | a | b |\n> |---|---|\n> 很长的一行"
    text = MarkdownText("", 40, is_complete=False)
    for character in source + " | 没有表格\n\n完":
        text.append(character)
    assert looks(text) == looks(MarkdownText(source + " | 没有表格\n\n完", 40))


def test_a_wide_table_is_narrowed_and_then_folded() -> None:
    source = "| 名称 | 说明 |\n|---|---|\n| 苹果 | 一种又红又甜的水果，很好吃 |"
    assert [row for row, _ in shown(MarkdownText(source, 24))] == [
        "名称  说明",
        "────  ──────────────────",
        "苹果  一种又红又甜的水",
        "      果，很好吃",
    ]
    assert [row for row, _ in shown(MarkdownText(source, 11))] == [
        "名称  苹果",
        "说明  一种",
        "又红又甜的",
        "水果，很好",
        "吃",
    ]


def test_highlighting_continues_over_lines() -> None:
    state, names = START, []
    for line in ("/* 注", "释 */ int x = 1;"):
        spans, state = colour_line(line, "java", state)
        names.append([(line[start:end], name) for start, end, name in spans])
    assert names == [
        [("/* 注", "comment")],
        [("释 */", "comment"), ("int", "keyword"), ("1", "number")],
    ]
    assert colour_line("x = 1", "no such language", START) == ((), START)


BAD = {
    "one line": "东风吹雨过春城，" * 6250,
    "one word": "a" * 50_000,
    "stars": "**a " * 12_500,
    "brackets": "[" * 50_000,
    "fences": "```\n" * 5000,
    "quotes": ">" * 50_000,
    "lists": "\n".join(" " * depth + "- a" for depth in range(300)),
    "tables": "| a | b |\n|---|---|\n" + "| 春 | 秋 |\n" * 3000,
    "wide table": "|" + "a|" * 300 + "\n|" + "-|" * 300 + "\n" + ("|" + "字|" * 300 + "\n") * 5,
    "code": "```python\n" + "x = 'a' + " * 5000,
    "blank": " \n\t\u3000\n" * 5000,
    "tags": "<a " * 16_000,
}


@pytest.mark.parametrize("name", BAD)
def test_extreme_input_is_fast_and_the_same_when_complete(name: str) -> None:
    inline.load_parser()
    costs: list[float] = []

    def timed(step: Callable[[], object]) -> None:
        began = time.thread_time()
        step()
        costs.append(time.thread_time() - began)

    growing = MarkdownText("", 76, is_complete=False)
    for start in range(0, len(BAD[name]), 500):
        timed(lambda start=start: (growing.append(BAD[name][start : start + 500]), growing.rows))
    growing.strip_end()
    assert all(cell_len(row.text.rstrip()) <= 76 for row in growing.rows)
    stored = MarkdownText(BAD[name], 76)
    timed(lambda: stored.rows)
    while stored.has_unread:
        timed(stored.read_more)
    assert looks(stored) == looks(growing)
    # A few may include a garbage collection.
    assert sorted(costs)[-3] < 0.1


async def test_streaming_in_the_app(drive: Any) -> None:
    async with drive([REPLY], spec=TALKER, size=(80, 40)) as on:
        on.backend.hold_after = REPLY.index("注意") + 2
        on.box.set_query("水果？")
        await on.pilot.press("enter")
        await on.until(lambda: "注意" in on.screen_text)
        assert "**" not in on.screen_text and "##" not in on.screen_text
        on.backend.hold_after = None
        on.backend.reply_gate.set()
        await on.settled()
        assert "苹果     12    好" in on.screen_text
        segments = [part for row in on.app.screen._compositor.render_strips() for part in row]
        colours = {part.text: part.style.color for part in segments if part.style}
        assert len({colours[words] for words in ("下一行", "更深", "def", "甲")}) == 4
        assert on.rounds[0].reply == REPLY, "the store keeps it as it was written"


async def test_a_key_toggles_markdown(drive: Any) -> None:
    store = Store(None)
    conversation = add_conversation(store, ("甲", "# 题\n**粗**"), ("乙", "- 一"))
    async with drive(store=store, spec=TALKER) as on:
        await on.pilot.press("alt+m")
        await on.pilot.pause()
        assert any("no round" in notice for notice in on.notices)
        await on.app.screen.open_conversation(conversation)
        # The replies of the embedded model are verse, which is not Markdown by default.
        await on.until(lambda: "**粗**" in on.screen_text)
        await on.pilot.press("alt+m")
        await on.until(lambda: "• 一" in on.screen_text)
        assert "**" not in on.screen_text
        await on.pilot.press("alt+m")
        await on.until(lambda: "**粗**" in on.screen_text)


async def test_poems_are_not_markdown(drive: Any) -> None:
    async with drive(["# 春\n\n\n1. *花*"], spec=SPEC) as on:
        await on.ask("写诗")
        assert on.views[0].reply_text == "# 春\n\n\n1. *花*"


async def test_selecting_whole_lines_copies_markdown(drive: Any) -> None:
    async with drive([REPLY], spec=TALKER, size=(80, 45)) as on:
        await on.ask("水果？")
        on.app.screen.text_select_all()
        await on.pilot.press("ctrl+c")
        assert REPLY in on.app.clipboard
        rows = on.screen_text.split("\n")
        first = next(y for y, row in enumerate(rows) if "1. 苹果" in row)
        await on.pilot.mouse_down(offset=(3, first))
        await on.pilot.hover(offset=(60, first + 1))
        await on.pilot.mouse_up(offset=(60, first + 1))
        await on.pilot.press("ctrl+c")
        assert on.app.clipboard == "1. 苹果\n   - 红的"


async def test_control_characters_in_markdown(drive: Any) -> None:
    reply = "# \x1b[31m\u202e\n| \x07 | [bold]x |\n|---|---|\n| \ud800 | <a> |\n```\x9b\n\x00\n```"
    async with drive([[*reply]], spec=TALKER, size=(60, 30)) as on:
        await on.ask("x")
        strips = on.app.screen._compositor.render_strips()
        assert {cell_len(strip.text) for strip in strips} == {60}
        assert "[bold]x" in on.screen_text
        assert not set("\x1b\x07\x9b\x00\u202e\ud800") & set(on.screen_text)


async def test_a_reply_of_white_space(drive: Any) -> None:
    async with drive([" \n\n \t\n"], spec=TALKER) as on:
        await on.ask("x")
        assert "no text" in on.screen_text


async def test_copying_by_key_by_mouse_and_by_command(drive: Any) -> None:
    first = "```python\nx = 1\n\ny = 2\n```\n完\n```\n甲\n```"
    async with drive([first, "**无**"], spec=TALKER, size=(80, 40)) as on:
        await on.pilot.press("alt+k", "alt+y", "alt+a")
        assert on.app.clipboard == ""
        await on.ask("写")
        await on.pilot.press("alt+k")
        await on.until(lambda: on.app.clipboard == "甲")
        row = next(y for y, line in enumerate(on.screen_text.split("\n")) if "python" in line)
        await on.pilot.click(offset=(10, row))
        await on.until(lambda: on.app.clipboard == "x = 1\n\ny = 2")
        await on.ask("再")
        await on.pilot.press("alt+k")
        await on.until(lambda: any("no code block" in notice for notice in on.notices))
        await on.pilot.press("alt+y")
        assert on.app.clipboard == "**无**"
        await on.pilot.press("alt+up", "alt+up", "alt+y")
        assert on.app.clipboard == first
        await on.pilot.press("alt+a")
        await on.until(lambda: on.app.clipboard.startswith("# "))
        assert "y = 2\n```\n完" in on.app.clipboard and "**无**" in on.app.clipboard
        on.app.clear_notifications()
        await on.ask("/copy-code")
        await on.until(lambda: on.app.clipboard == "甲")


async def test_the_view_follows_the_end_only_when_scrolled_there(drive: Any) -> None:
    async with drive(["行\n" * 60 + "完"], spec=TALKER) as on:
        on.backend.hold_after = 80
        on.box.set_query("写")
        await on.pilot.press("enter")
        await on.until(lambda: on.conversation.max_scroll_y > 10)
        assert "below" not in on.screen_text
        await on.pilot.press("pageup")
        await on.until(lambda: "more rows below" in on.screen_text)
        seen = on.conversation.scroll_y
        on.backend.hold_after = None
        on.backend.reply_gate.set()
        await on.settled()
        assert on.conversation.scroll_y == seen
        await on.pilot.press("end")
        await on.until(lambda: "完" in on.screen_text)
        assert "below" not in on.screen_text
        await on.pilot.press("pageup")
        await on.until(lambda: "more rows below" in on.screen_text)
        await on.pilot.click("MoreBelow")
        await on.until(lambda: "完" in on.screen_text and "below" not in on.screen_text)
        await on.pilot.press("pageup")
        await on.until(lambda: "more rows below" in on.screen_text)
        await on.resize(80, 100)
        await on.until(lambda: "完" in on.screen_text and "below" not in on.screen_text)


async def test_a_short_reply_is_at_the_top_of_a_tall_terminal(drive: Any) -> None:
    async with drive(["好"], spec=TALKER, size=(140, 45)) as on:
        await on.ask("写")
        assert "▌ 写" in "\n".join(on.screen_text.split("\n")[:4])


async def test_opening_a_long_reply_shows_all_of_it_and_its_end(drive: Any) -> None:
    store = Store(None)
    reply = "".join(f"- 第 {number} 行\n" for number in range(2500))
    conversation = add_conversation(store, ("甲", reply), ("乙", "完"))
    async with drive(store=store, spec=TALKER) as on:
        await on.app.screen.open_conversation(conversation)
        await on.pilot.press("alt+m")
        await on.until(lambda: on.views and len(on.views[0]._reply.blocks[0].text.rows) == 2500)
        await on.until(lambda: "完" in on.screen_text)
