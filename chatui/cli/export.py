"""``chatui export``: export saved conversations as pages, transcripts or training data."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from chatui.cli import options
from chatui.cli.conversation_arguments import conversation_ids, conversation_number, open_store
from chatui.cli.exit_codes import SUCCESS, UsageError
from chatui.cli.history import write_conversations
from chatui.cli.output import write
from chatui.conversation.export_formats import (
    EXPORT_FORMATS,
    export_files,
    export_parts,
    format_named,
    format_of,
)
from chatui.errors import ChatuiError
from chatui.locales import say


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ids",
        nargs="*",
        type=conversation_number,
        metavar="ID",
        help=say("cli.option.conversation"),
    )
    names = tuple(format.name for format in EXPORT_FORMATS)
    parser.add_argument("--as", dest="format", choices=names, help=say("cli.option.as"))
    parser.add_argument("-o", "--output", metavar="FILE", help=say("cli.option.output"))
    parser.add_argument(
        "--probabilities", action="store_true", help=say("export.option.probabilities")
    )
    parser.add_argument("--list", action="store_true", help=say("cli.option.list"))
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    with closing(open_store()) as store:
        if args.list or args.json:
            write_conversations(store.conversations(), as_json=args.json)
            return SUCCESS
        target = Path(args.output) if args.output else None
        format = format_named(args.format) if args.format else format_of(target)
        if args.probabilities and not format.shows_probabilities:
            raise UsageError(say("export.no_probabilities", form=format.name))
        ids = conversation_ids(store, args.ids)
        if not args.ids and (last := store.last_conversation()):
            ids = (last.id,)
        if not ids:
            raise ChatuiError(say("cli.export.none"))
        if target is not None:
            is_folder = len(ids) > 1 or None in args.ids
            export_files(
                store, ids, target, format, probabilities=args.probabilities, is_folder=is_folder
            )
            return SUCCESS
        for part in export_parts(store, ids, format, probabilities=args.probabilities):
            write(part)
    return SUCCESS
