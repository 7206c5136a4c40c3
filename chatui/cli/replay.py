"""``chatui replay``: play a transcript as it happened, in the app, or as text into a pipe."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from chatui.cli import options
from chatui.cli.ending import SUCCESS
from chatui.cli.output import tell, write
from chatui.conversation import transcript
from chatui.conversation.json_records import Fault
from chatui.conversation.playback import Player, steps_of
from chatui.locales import say
from chatui.sampling import Setting

_SHOWN_FAULTS = 5


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
    parser.add_argument("--rerun", action="store_true", help=say("cli.option.rerun"))
    options.add_model(parser)


def run(args: argparse.Namespace) -> int:
    faults: list[str] = []
    whole = transcript.read(Path(args.file), lambda fault: faults.append(_words(args.file, fault)))
    if args.rerun:
        from chatui.cli.rerun import rerun

        for fault in faults:
            tell(fault)
        return rerun(whole, args)
    steps = list(steps_of(whole, args.idle_limit))
    if sys.stdin and sys.stdin.isatty() and sys.stdout.isatty():
        from chatui.settings import load_settings
        from chatui.tui.replay_app import ReplayApp

        player = Player(steps, args.speed)
        ReplayApp(
            player, whole.conversation.title, load_settings().theme, tuple(faults[:_SHOWN_FAULTS])
        ).run()
        return SUCCESS
    for fault in faults:
        tell(fault)
    began = time.monotonic()
    for step in steps:
        time.sleep(max(0.0, began + step.at_seconds / args.speed - time.monotonic()))
        if step.kind == "query":
            write(say("cli.replay.query", query=step.text) + "\n\n")
        elif step.kind == "piece":
            write(step.text)
        else:
            write("\n\n")
    return SUCCESS


def _words(name: str, fault: Fault) -> str:
    place = f"{name}, " + say("import.line", line=fault.line)
    return say("import.skipped", place=place, reason=fault.reason)
