"""Randomly damaged prompts, themes and key bindings are used, or skipped with one sentence."""

from __future__ import annotations

import random
from typing import Any

from damage import wrong_bytes
from saved_conversations import SPEC
from scripted_backend import ScriptedBackend

from chatui.conversation.store import Store
from chatui.locales import say
from chatui.settings import Settings
from chatui.text import plain_text
from chatui.tui import commands, keymap
from chatui.tui.app import ChatApp

NAMES = ("翻译", "a b", "x", "\udcff", "", "..", "a\u200b", "-", "长" * 60, "a\nb")
PIECES = (
    *(
        "",
        "ctrl+",
        "alt+shift+",
        "+",
        ",",
        "f13",
        "f1",
        "🦄",
        "enter",
        "a",
        "é",
        "\x00",
        " ",
        "tab",
    ),
    *("escape", "up", "greek_small_letter_alpha", "<", "[b]", "{x}", "\n", "x" * 3000),
)
BINDINGS = ("regenerate", "fold", "help", "stop", "find", "choose", "close", "", "none", "delete")


def test_damaged_prompts(home: object) -> None:
    dice = random.Random(1)
    sound = "把下面的文字译成英文。{query}\n\n{selection}\n".encode()
    folder = commands.prompts_folder()
    folder.mkdir(parents=True)
    taken = left_out = 0
    for _ in range(300):
        for file in folder.iterdir():
            file.unlink()
        name = dice.choice(NAMES) + dice.choice((".md", ".txt"))
        (folder / name).write_bytes(wrong_bytes(sound, dice))
        prompts, problems = commands.prompt_commands()
        for prompt in prompts:
            prompt.query("{query}", "{selection}").encode()
        assert all(sentence.encode() and "\n" not in sentence for sentence in problems)
        taken, left_out = taken + len(prompts), left_out + len(problems)
    assert taken > 20 and left_out > 20


def test_damaged_themes(home: object) -> None:
    dice = random.Random(3)
    for _ in range(12):
        wanted = "".join(dice.choices((*NAMES, *PIECES, "chatui", "-light", "nord"), k=2))
        settings = Settings(theme=wanted)
        app = ChatApp(settings, SPEC, Store(None), ScriptedBackend())
        if app.theme != wanted:
            assert app.theme == "chatui"
            (sentence,) = app._notices
            assert "\n" not in sentence and len(sentence) < 400 and plain_text(sentence) == sentence


async def test_damaged_key_bindings(drive: Any) -> None:
    dice = random.Random(2)
    taken = 0
    async with drive() as on:
        try:
            for _ in range(80):
                wanted = {
                    dice.choice(BINDINGS): dice.choice(
                        [None, 1, *["".join(dice.choices(PIECES, k=dice.randint(0, 4)))] * 4]
                    )
                    for _ in range(dice.randint(1, 4))
                }
                problems = keymap.rebind(on.app, wanted)
                assert all("\n" not in each and len(each) < 400 for each in problems), wanted
                taken += len(problems) < len(wanted)
                say("tui.status.keys")
            await on.pilot.press("a")
        finally:
            keymap.reset()
            on.app.set_keymap({})
    assert taken > 9
