"""A walk through every screen of a running app."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from driven import Driven
from saved_conversations import SPEC, add_conversation
from scripted_backend import ScriptedBackend
from textual.widgets import Static

from chatui import locales
from chatui.catalog import ModelEntry
from chatui.conversation.rounds import Piece, RenderedPrompt
from chatui.conversation.store import Store
from chatui.messages import Adapter
from chatui.settings import Settings
from chatui.tui.app import ChatApp
from chatui.tui.screens.chat import ChatScreen
from chatui.tui.screens.compare import CompareScreen

NOON = 1_700_049_600.0
"""A Wednesday in November 2023."""

POEM = "东风吹雨过春城，夜半花开月自明。\n莫问江南多少事，一声啼鸟到天明。"
ARTICLE = """## 绝句的四种起法

**仄起**与*平起*，各分首句入韵与不入韵；`平仄` 只看二、四、六字。

| 起法 | 首句 | 例 |
| --- | --- | --- |
| 平起 | 入韵 | 朝辞白帝彩云间 🌄 |
| 仄起 | 不入韵 | two roads diverged |

> 一三五不论，二四六分明。

- 先定韵，再定意
- 写完读一遍

```python
def rhyme(line: str) -> str:
    return line[-1]  # 末字
```
"""
PROMPT = RenderedPrompt(
    text="[Round 0]\n问：写一首七言绝句\n答：",
    input_ids=(53, 6945, 5, 8, 42, 4, 64286, 12, 130001, 130004),
    tokens=("▁[", "Round", "▁", "0", "]", "<n>", "问", "：写一首七言绝句", "[gMASK]", "<sop>"),
    position_ids=((0, 1, 2, 3, 4, 5, 6, 7, 8, 8), (0, 0, 0, 0, 0, 0, 0, 0, 0, 1)),
    context_limit=2048,
)
_SAID = (("东风", 0.91), ("吹", 0.5), ("雨", 0.02), ("过", 0.7), ("春城", 0.3), ("，", 0.99))
PIECES = tuple(
    Piece(0.4 + at / 10, text, 100 + at, math.log(p), ((100 + at, text, p), (7, "落", p / 2)))
    for at, (text, p) in enumerate(_SAID)
)
ENTRIES = (
    ModelEntry("shiyou", "preset", "诗友", "随程序附带的小模型，在对话里写古诗。"),
    ModelEntry("xuxie", "preset", "续写", "接着您输入的文字往下写。"),
    ModelEntry(
        "belle",
        "preset",
        "belle",
        "BELLE：BLOOMZ 的中文指令精调。",
        usable=False,
        lacking=("x",),
        disk_bytes=14_000_000_000,
    ),
)
ADAPTERS = tuple(Adapter(f"/models/{name}") for name in ("poems", "couplets"))
SHORT_REPLY = "春江潮水连海平，海上明月共潮生。"


def stored(file: Path | None = None) -> Store:
    """Return a store with the conversations of the walk."""
    store = Store(file, clock=lambda: NOON)
    id_ = add_conversation(store, ("写一首七言绝句，题目是《春夜》", POEM), ("讲讲绝句", ARTICLE))
    for each in store.rounds(id_):
        store.save_prompt(each.id, PROMPT)
        store.append_pieces(each.id, PIECES)
    add_conversation(store, ("床前明月光", "疑是地上霜"))
    return store


def app(
    language: Literal["zh", "en"], theme: str = "chatui", store: Store | None = None
) -> ChatApp:
    backend = ScriptedBackend([list(SHORT_REPLY)])
    spec = replace(SPEC, sampling=replace(SPEC.sampling, temperature=0.9, top_k=40))
    locales.set_language(language)
    shown = ChatApp(Settings(theme=theme), spec, store or stored(), backend)
    shown.known_adapters = ADAPTERS
    return shown


async def walk(on: Driven) -> AsyncIterator[str]:
    """Go from screen to screen, and yield the name of each once it is complete."""
    press = on.pilot.press
    shown = on.until_shown
    await shown("/512")
    chat = on.app.screen
    assert isinstance(chat, ChatScreen)
    await on.until(lambda: chat.findings is not None and chat._last is not None)
    yield "welcome"

    await press(*"/s")
    await shown("/seed")
    yield "commands"
    await press("escape", "backspace", "backspace")

    await press("ctrl+b")
    await shown("床前明月光")
    await press(*"春夜")
    while "床前明月光" in on.screen_text:
        await on.pilot.pause(0.03)
    yield "conversations"
    await press("ctrl+e")
    await on.pilot.pause()
    yield "rename"
    await press("escape", "enter")
    await shown("1/1")
    await press("escape", "end")
    await shown("rhyme")
    await press("alt+m")
    await shown("末字")
    yield "conversation"

    await press("alt+l")
    await shown("2023-11-15")
    yield "side-bar"
    await press("alt+l", "ctrl+f", *"rhyme")

    def has_found() -> bool:
        pattern = on.conversation._list._matches.pattern
        return pattern is not None and bool(pattern.fullmatch("rhyme"))

    await on.until(has_found)
    await on.until(lambda: str(chat.query_one("FindBar .count", Static).content))
    yield "find"
    await press("escape")

    await press("alt+s")
    await shown("top_k")
    await press("ctrl+u", *"0.5")
    await on.pilot.pause()
    yield "settings"
    await press("alt+z", "alt+s")

    await press("f8")
    await shown("[gMASK]")
    await press("right", "right")
    await shown("落")
    yield "glass-box"
    await press("f8")

    for key, name, *texts in (
        ("f2", "models", "belle"),
        ("f3", "adapters", "couplets"),
        ("ctrl+p", "palette", "/model"),
        ("f1", "help", "Alt+Enter"),
        ("alt+t", "tree", "讲讲绝句"),
        # The last group is shown after the catalog has been read.
        ("alt+d", "candidates", "Continuation", "续写"),
    ):
        await press(key)
        await shown(*texts)
        yield name
        if name != "candidates":
            await press("escape")
            await on.pilot.pause()
    await press("enter")
    await on.until(lambda: isinstance(on.app.screen, CompareScreen))
    compared = on.app.screen._comparison  # type: ignore[attr-defined]
    await on.until(compared.finished.is_set, 60)
    await shown("潮生")
    yield "compare"
    await press("escape")
    await on.pilot.pause()
