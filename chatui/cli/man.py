"""``chatui man``: the man page, generated from the parser."""

from __future__ import annotations

import argparse

from chatui.cli.exit_codes import SUCCESS
from chatui.cli.output import write
from chatui.locales import say


def add_options(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    from argparse_manpage.manpage import Manpage

    from chatui import __version__
    from chatui.cli.parser import COMMANDS, build

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
