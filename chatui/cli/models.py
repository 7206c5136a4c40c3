"""``chatui models``: the models that can be used now, and what is missing for the others."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import msgspec

from chatui import catalog
from chatui.backends import servers
from chatui.catalog import ModelDetails, ModelEntry
from chatui.catalog.schema import PresetFields
from chatui.cli import request
from chatui.cli.exit_codes import SUCCESS
from chatui.cli.output import write, write_json, write_stderr, write_table
from chatui.locales import say
from chatui.prompting import formats
from chatui.readable import size

_WIDE_CELLS = 90
"""Minimum terminal width for the file sizes, which mostly equal the sizes in memory."""


def run(args: argparse.Namespace) -> int:
    settings = request.settings_of(args)
    served = asyncio.run(servers.entries(settings, args.server))
    if args.name is not None:
        on_server = next((entry for entry in served if entry.reference == args.name), None)
        found = (
            ModelDetails(on_server) if on_server else catalog.describe_model(args.name, settings)
        )
        _write_details(found, as_json=args.json)
        return SUCCESS
    entries = (*catalog.list_models(settings), *served)
    for problem in catalog.problems():
        write_stderr(problem)
    if args.json:
        write_json([asdict(entry) for entry in entries])
    else:
        _write_entries(entries)
    return SUCCESS


def _write_entries(entries: tuple[ModelEntry, ...]) -> None:
    """Write the table, usable models first; on a terminal last, so that they stay in view."""
    on_terminal = sys.stdout.isatty()
    columns = ["name", "family", "disk", "memory", "about"]
    if on_terminal and shutil.get_terminal_size().columns < _WIDE_CELLS:
        columns.remove("disk")
    rows = []
    for entry in sorted(entries, key=lambda entry: entry.usable is on_terminal):
        cells = {
            "name": entry.reference,
            "family": entry.family,
            "disk": size(entry.disk_bytes) if entry.disk_bytes else "",
            "memory": size(entry.memory_bytes) if entry.memory_bytes else "",
            "about": _about(entry),
        }
        rows.append((_mark(entry), *(cells[column] for column in columns)))
    write_table(rows, ("", *(say(f"cli.models.{column}") for column in columns)))
    if on_terminal:
        write("\n" + say("cli.models.hint") + "\n")


def _mark(entry: ModelEntry) -> str:
    return "●" if entry.usable else "○"


def _about(entry: ModelEntry) -> str:
    if entry.lacking:
        return say("cli.models.lacks", parts=", ".join(entry.lacking))
    return entry.description if entry.usable else entry.missing


def _write_details(found: ModelDetails, *, as_json: bool) -> None:
    entry, facts = found.entry, found.preset.fields if found.preset else PresetFields()
    # Chat templates have no stop strings of their own.
    own = formats.get(entry.format).stop_strings if entry.format in formats.names() else ()
    known = {
        "aliases": facts.aliases or (),
        "parts": found.parts,
        "weights": facts.weights,
        "context_limit": facts.context_limit,
        "sampling": facts.sampling or {},
        "stop_strings": tuple(dict.fromkeys((*own, *(facts.stop_strings or ())))),
        "licence": facts.licence or "",
        "source": facts.source or "",
        "assembly": str(facts.assembly or ""),
    }
    if as_json:
        write_json({**asdict(entry), **msgspec.to_builtins(known)})
        return
    write(f"{_mark(entry)} {entry.reference}\n")
    write_table(
        [(say(f"cli.models.fact.{name}"), value) for name, value in _facts(entry, known) if value],
        indent="  ",
        whole=True,
    )


def _facts(entry: ModelEntry, known: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names and values; unknown values are empty."""
    yield "aliases", ", ".join(known["aliases"])
    yield "description", entry.description
    yield "family", entry.family
    yield "format", entry.format
    for part in known["parts"]:
        there = "present" if part.path else "absent"
        yield part.role, say(f"cli.models.{there}", title=part.title, path=part.path)
    yield "download", size(entry.disk_bytes) if entry.disk_bytes else ""
    if weights := known["weights"]:
        words = "weights" if weights.int8_gb and weights.int4_gb else "weights_fp16"
        bits = {"fp16": weights.fp16_gb, "int8": weights.int8_gb, "int4": weights.int4_gb}
        sizes = {name: size(gigabytes * 1e9) for name, gigabytes in bits.items()}
        yield "memory", say(f"cli.models.{words}", **sizes)
    else:
        yield "memory", size(entry.memory_bytes) if entry.memory_bytes else ""
    limit = known["context_limit"]
    yield "context", say("cli.models.context", limit=limit) if limit else ""
    yield "sampling", ", ".join(f"{name} {value}" for name, value in known["sampling"].items())
    texts = known["stop_strings"]
    yield "stop", ", ".join(json.dumps(text, ensure_ascii=False) for text in texts)
    for name in ("licence", "source", "assembly"):
        yield name, known[name]
    yield "missing", entry.missing
