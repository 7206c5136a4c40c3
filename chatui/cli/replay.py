"""``chatui replay``: play a transcript in the terminal with its original timing."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from chatui.cli import options
from chatui.cli.ending import SUCCESS
from chatui.cli.output import tell, write
from chatui.conversation import transcript
from chatui.conversation.json_records import Fault
from chatui.conversation.playback import steps_of
from chatui.locales import say
from chatui.sampling import Setting


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=say("cli.option.transcript"))
    parser.add_argument(
        "--speed",
        type=options.in_range(Setting(float, 0, 10**12, above_least=True)),
        default=1.0,
        metavar="X",
        help=say("cli.option.speed"),
    )
    parser.add_argument(
        "--idle-limit",
        type=options.in_range(Setting(float, 0, 10**6)),
        metavar="SECONDS",
        help=say("cli.option.idle_limit"),
    )


def run(args: argparse.Namespace) -> int:
    whole = transcript.read(Path(args.file), lambda fault: _tell(args.file, fault))
    began = time.monotonic()
    for step in steps_of(whole, args.idle_limit):
        time.sleep(max(0.0, began + step.at_seconds / args.speed - time.monotonic()))
        if step.kind == "query":
            write(say("cli.replay.query", query=step.text) + "\n\n")
        elif step.kind == "piece":
            write(step.text)
        else:
            write("\n\n")
    return SUCCESS


def _tell(name: str, fault: Fault) -> None:
    place = f"{name}, " + say("import.line", line=fault.line)
    tell(say("import.skipped", place=place, reason=fault.reason))
