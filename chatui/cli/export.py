"""``chatui export``: write a saved conversation as Markdown, plain text or a transcript."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from chatui import locations
from chatui.cli import options
from chatui.cli.ending import SUCCESS
from chatui.cli.output import write, write_json, write_table
from chatui.conversation import exports, transcript
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say

_WRITERS: dict[str, Callable[[transcript.Transcript], str]] = {
    "markdown": lambda whole: exports.to_markdown(whole.conversation, whole.path()),
    "text": lambda whole: exports.to_text(whole.conversation, whole.path()),
    "transcript": transcript.dumps,
}
_BY_SUFFIX = {".txt": "text", ".jsonl": "transcript", ".json": "transcript"}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "id", nargs="?", type=options.whole(1), metavar="ID", help=say("cli.option.conversation")
    )
    parser.add_argument("--as", dest="form", choices=_WRITERS, help=say("cli.option.as"))
    parser.add_argument("-o", "--output", metavar="FILE", help=say("cli.option.output"))
    parser.add_argument("--list", action="store_true", help=say("cli.option.list"))
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    with closing(Store(locations.database_file())) as store:
        if args.list or args.json:
            _list(store, as_json=args.json)
            return SUCCESS
        id_ = args.id
        if id_ is None:
            last = store.last_conversation()
            if last is None:
                raise ChatuiError(say("cli.export.none"))
            id_ = last.id
        suffix = Path(args.output or "").suffix.lower()
        form = args.form or _BY_SUFFIX.get(suffix, "markdown")
        text = _WRITERS[form](transcript.of_store(store, id_))
    if args.output:
        exports.write_whole(Path(args.output), text)
    else:
        write(text)
    return SUCCESS


def _list(store: Store, *, as_json: bool) -> None:
    found = store.conversations()
    if as_json:
        write_json([asdict(conversation) for conversation in found])
        return
    write_table(
        [
            (
                str(conversation.id),
                datetime.fromtimestamp(conversation.updated_at).isoformat(" ", "minutes"),
                str(conversation.round_count),
                conversation.title,
            )
            for conversation in found
        ],
        tuple(say(f"cli.export.{name}") for name in ("id", "used", "rounds", "title")),
    )
