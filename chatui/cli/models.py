"""``chatui models``: what can be used now, and what is missing for the rest."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import asdict

from chatui import catalog
from chatui.backends import servers
from chatui.cli import options, request
from chatui.cli.ending import SUCCESS
from chatui.cli.output import readable_bytes, tell, write_json, write_table
from chatui.locales import say


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_json(parser)
    parser.add_argument(
        "--server", metavar="URL", default=argparse.SUPPRESS, help=say("cli.option.server")
    )


def run(args: argparse.Namespace) -> int:
    settings = request.settings_of(args)
    served = asyncio.run(servers.entries(settings, args.server))
    found = (*catalog.entries(settings), *served)
    for problem in catalog.problems():
        tell(problem)
    if args.json:
        write_json([asdict(entry) for entry in found])
        return SUCCESS
    rows = sorted(found, key=lambda entry: not entry.usable)
    write_table(
        [
            (
                "●" if entry.usable else "○",
                entry.reference,
                entry.family,
                readable_bytes(entry.memory_bytes) if entry.memory_bytes else "",
                entry.description if entry.usable else entry.missing,
            )
            for entry in rows
        ],
        ("", *(say(f"cli.models.{name}") for name in ("name", "family", "memory", "about"))),
    )
    return SUCCESS
