"""``chatui man`` and ``chatui completion``: texts generated from the parser."""

from __future__ import annotations

import argparse

from chatui import __version__
from chatui.cli.commands import COMMANDS
from chatui.cli.exit_codes import SUCCESS
from chatui.cli.output import write
from chatui.cli.parser import build
from chatui.locales import say


def man(_: argparse.Namespace) -> int:
    """Write the man page."""
    from argparse_manpage.manpage import Manpage

    facts = {
        "project_name": "chatui",
        "version": __version__,
        "description": say("cli.man.summary"),
        "manual_section": "1",
        "manual_title": "chatui",
    }
    page = str(Manpage(build(COMMANDS), facts))
    # The library recognises the word before a usage in English only.
    write(page.replace(say("cli.argparse.usage"), "") + "\n")
    return SUCCESS


def completion(args: argparse.Namespace) -> int:
    """Write a script that completes commands, options, models and files in a shell."""
    import shtab

    from chatui.catalog import library

    presets = sorted(preset.name for preset in library.load().listed)

    def add_values(parser: argparse.ArgumentParser) -> None:
        """Mark the arguments that take a preset or a file, in the attributes that shtab reads."""
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for child in action.choices.values():
                    add_values(child)
            elif action.metavar in ("FILE", "PATH[@SCALE]"):
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.metavar in ("REF", "NAME") and action.dest in ("model", "name"):
                action.choices = presets

    parser = build(COMMANDS)
    add_values(parser)
    write(shtab.complete(parser, shell=args.shell) + "\n")
    return SUCCESS
