"""``chatui rm``: delete a downloaded model after confirmation."""

from __future__ import annotations

import argparse
import sys

from chatui import readable
from chatui.catalog.fetching.removing import plan_removal, remove
from chatui.cli.exit_codes import ERROR, SUCCESS, UsageError, message_on_interrupt
from chatui.cli.output import write, write_line, write_stderr, write_table
from chatui.locales import say
from chatui.settings import load_settings


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help=say("fetching.pull.name"))
    parser.add_argument("--yes", "-y", action="store_true", help=say("fetching.rm.yes"))


def run(args: argparse.Namespace) -> int:
    with message_on_interrupt(lambda: say("fetching.rm.kept")):
        removal = plan_removal(args.name, load_settings())
        write_table(
            (item.title, readable.size(item.size_bytes), str(item.root)) for item in removal.items
        )
        if len(removal.items) > 1:
            write_line(say("fetching.rm.total", size=readable.size(removal.size_bytes)))
        for note in removal.notes:
            write_stderr(note)
        agreed = args.yes or _agreed()
    if not agreed:
        write_stderr(say("fetching.rm.kept"))
        return ERROR
    write_line(say("fetching.rm.done", size=readable.size(remove(removal))))
    return SUCCESS


def _agreed() -> bool:
    """Ask the user for confirmation; raises UsageError without a terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(say("fetching.rm.not_asked"))
    answer = ""
    try:
        write(say("fetching.rm.question"))
        answer = sys.stdin.readline()
    finally:
        if not answer:
            # After Ctrl+C or Ctrl+D the cursor is still behind the question.
            write("\n")
    return answer.strip().casefold() in say("fetching.rm.answers").split()
