"""``chatui completion``: a script that completes commands, options, models and files in a shell."""

from __future__ import annotations

import argparse

from chatui.cli.exit_codes import SUCCESS
from chatui.cli.output import write
from chatui.locales import say

SHELLS = ("bash", "zsh", "fish")
_PATHS = ("FILE", "PATH[@SCALE]")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help=say("cli.completion.shell"))


def run(args: argparse.Namespace) -> int:
    import shtab

    from chatui.cli.parser import COMMANDS, build

    parser = build(COMMANDS)
    _add_values(parser)
    write(shtab.complete(parser, shell=args.shell) + "\n")
    return SUCCESS


def _add_values(parser: argparse.ArgumentParser) -> None:
    """Mark the arguments that take a preset or a file, in the attributes that shtab reads."""
    import shtab

    from chatui.catalog import library

    presets = sorted(preset.name for preset in library.load().listed)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                _add_values(child)
        elif action.metavar in _PATHS:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif action.metavar in ("REF", "NAME") and action.dest in ("model", "name"):
            action.choices = presets
