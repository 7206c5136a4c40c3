"""``chatui replay``: play a transcript in the terminal with its original timing."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from chatui.cli import options
from chatui.cli.ending import SUCCESS
from chatui.cli.output import write
from chatui.conversation import transcript
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


def run(args: argparse.Namespace) -> int:
    for step in transcript.schedule(transcript.read(Path(args.file)), args.speed):
        time.sleep(step.wait_seconds)
        if step.kind == "query":
            write(say("cli.replay.query", query=step.text) + "\n\n")
        elif step.kind == "piece":
            write(step.text)
        else:
            write("\n\n")
    return SUCCESS
