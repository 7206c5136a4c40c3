"""The list of commands that complete the text in the query box."""

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
    """Lists commands above the query box, which keeps the focus; hidden if there are none."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.commands: tuple[Command, ...] = ()
        self.display = False

    def show(self, commands: Sequence[Command]) -> None:
        """List these commands and highlight the first one."""
        if tuple(commands) == self.commands:
            return
        self.commands = tuple(commands)
        self.clear_options()
        self.add_options(Option(command_row(command)) for command in commands)
        self.highlighted = 0 if commands else None
        self.display = bool(commands)

    @property
    def chosen(self) -> Command | None:
        """The highlighted command; None while the list is hidden."""
        index = self.highlighted
        return self.commands[index] if self.display and index is not None else None


def command_row(command: Command) -> Content:
    """Return a command's name and its description."""
    name = "/" + one_line(command.name, 30)
    space = " " * max(2, _NAME_CELLS - cell_len(name))
    return Content.assemble(Content.styled(name, "$accent"), space, command.description)
