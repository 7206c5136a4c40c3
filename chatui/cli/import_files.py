"""``chatui import``: import conversations of other programs into the history."""

from __future__ import annotations

import argparse
from contextlib import closing

from chatui.cli import options
from chatui.cli.conversation_arguments import open_store
from chatui.cli.exit_codes import SUCCESS, message_on_interrupt
from chatui.cli.output import write_line, write_stderr
from chatui.cli.progress import REPORTED_RECORDS, ProgressDisplay, skipped_records_reporter
from chatui.conversation.conversation_files import IMPORT_SUFFIXES, expand_paths
from chatui.conversation.importing import ImportCounts, import_files
from chatui.errors import ChatuiError
from chatui.locales import say


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help=say("import.import.files"))
    parser.add_argument(
        "--encoding", metavar="NAME", type=options.encoding, help=say("import.import.encoding")
    )


def run(args: argparse.Namespace) -> int:
    files = expand_paths(args.files, IMPORT_SUFFIXES)
    display = ProgressDisplay()
    counts = ImportCounts()

    def report(now: ImportCounts) -> None:
        nonlocal counts
        counts = now
        share = now.done_bytes / now.total_bytes if now.total_bytes else 1.0
        done = f"{now.conversations:,}"
        display.update(share, say("import.import.progress", done=done))

    def stopped() -> str:
        return say("import.import.stopped", count=counts.conversations)

    with message_on_interrupt(stopped), closing(open_store()) as store:
        counts = import_files(
            store,
            files,
            encoding=args.encoding,
            on_progress=report,
            on_skipped=skipped_records_reporter(),
        )
    if counts.skipped > REPORTED_RECORDS:
        write_stderr(say("import.import.skipped", count=counts.skipped))
    if not counts.conversations and not counts.known:
        raise ChatuiError(say("import.import.nothing"))
    words = {"conversations": counts.conversations, "rounds": counts.rounds}
    write_line(say("import.import.done", **words))
    if counts.known:
        write_line(say("import.import.known", count=counts.known))
    return SUCCESS
