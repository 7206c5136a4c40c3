"""The command palette (Ctrl+P): commands by name, description, or pinyin."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType

from chatui import pinyin
from chatui.locales import say
from chatui.tui.commands import Command, search
from chatui.tui.screens.picker import Picker
from chatui.tui.widgets.completion_list import command_row


class CommandPaletteScreen(Picker[Command, Command]):
    """Returns the chosen command, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+p", "cancel", "tui.keys.close"),
    ]

    def __init__(self, commands: Sequence[Command]) -> None:
        words = (say(f"tui.palette.{part}") for part in ("title", "keys", "search"))
        super().__init__(*words)
        self._commands = tuple(commands)

    async def find(self, words: str) -> None:
        if words:
            await asyncio.to_thread(pinyin.prepare)
        found = search(self._commands, words)
        self.show(found, [command_row(each) for each in found], 0, say("tui.palette.none"))

    def choose(self, item: Command) -> None:
        self.dismiss(item)
