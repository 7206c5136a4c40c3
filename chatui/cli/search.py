"""``chatui search``: find text in earlier conversations."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from chatui.cli import options
from chatui.cli.conversation_arguments import open_store
from chatui.cli.exit_codes import SUCCESS, UsageError
from chatui.cli.output import write_json, write_stderr, write_table
from chatui.locales import say


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="WORDS", help=say("cli.option.words"))
    options.add_json(parser)
    parser.add_argument(
        "--limit",
        type=options.whole_number(1),
        default=100,
        metavar="N",
        help=say("cli.option.limit"),
    )


def run(args: argparse.Namespace) -> int:
    text = " ".join(args.words)
    if not text.strip():
        raise UsageError(say("cli.search.blank"))
    store = open_store()
    try:
        hits = store.search(text, args.limit)
    finally:
        store.close()
    if args.json:
        write_json([asdict(hit) | {"snippet": hit.snippet} for hit in hits])
    elif hits:
        write_table([(str(hit.conversation_id), hit.title, hit.snippet) for hit in hits])
    else:
        write_stderr(say("cli.search.nothing", text=text))
    return SUCCESS
