"""The commands that a text in the query box may become, above the box."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from chatui.text import one_line
from chatui.tui.commands import Command

_NAME_CELLS = 12


class CompletionList(OptionList, can_focus=False):
    """Takes no room if there is nothing to complete; the query box keeps the focus."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.commands: tuple[Command, ...] = ()
        self.display = False

    def show(self, commands: Sequence[Command]) -> None:
        """List these commands, the first one highlighted."""
        if tuple(commands) == self.commands:
            return
        self.commands = tuple(commands)
        self.clear_options()
        self.add_options(Option(command_row(command)) for command in commands)
        self.highlighted = 0 if commands else None
        self.display = bool(commands)

    @property
    def chosen(self) -> Command | None:
        """The highlighted command."""
        index = self.highlighted
        return self.commands[index] if self.display and index is not None else None


def command_row(command: Command) -> Content:
    """A command's name, and beside it what it does."""
    name = "/" + one_line(command.name, 30)
    space = " " * max(2, _NAME_CELLS - cell_len(name))
    return Content.assemble(Content.styled(name, "$accent"), space, command.description)
