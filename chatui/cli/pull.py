"""``chatui pull``: fetch what a model needs, with one progress for all of it."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import closing

from chatui import catalog, readable
from chatui.catalog.fetching.fetch import Fetch, FetchDone, FetchNote, FetchProgress
from chatui.catalog.fetching.planning import FetchPlan, plan
from chatui.cli.exit_codes import SUCCESS, message_on_interrupt
from chatui.cli.output import StatusLine, write_line, write_stderr
from chatui.cli.progress import ProgressDisplay
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.settings import Settings, load_settings


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help=say("fetching.pull.name"))
    parser.add_argument(
        "--from", dest="source", choices=("hf", "modelscope"), help=say("fetching.pull.from")
    )
    parser.add_argument("--mirror", metavar="URL", default="", help=say("fetching.pull.mirror"))


def run(args: argparse.Namespace) -> int:
    settings = load_settings()
    made: FetchPlan | None = None

    def stopped() -> str:
        if made is None:
            return say("fetching.pull.stopped_early")
        done, total = readable.size(made.kept_bytes), readable.size(made.total_bytes)
        return say("fetching.pull.stopped", done=done, total=total, command=_again(args))

    with message_on_interrupt(stopped):
        StatusLine(sys.stdout).show(say("fetching.pull.asking", name=args.name))
        made = plan(args.name, settings, source=args.source, mirror=args.mirror)
        for note in made.notes:
            write_stderr(note)
        if made.files:
            write_line(_announced(made))
            _fetch(made)
        else:
            write_line(say("fetching.pull.nothing", name=made.name))
    _tell_next(made, settings)
    return SUCCESS


def _fetch(made: FetchPlan) -> None:
    """Carry the plan out, and tell how far it is and how it ended."""
    display = ProgressDisplay()
    is_here = made.kept_bytes == made.total_bytes
    with closing(Fetch(made).events()) as events:
        for event in events:
            if isinstance(event, FetchNote):
                write_stderr(event.sentence)
            elif isinstance(event, FetchDone):
                write_line(_told(made, event))
            elif not is_here:
                display.progress(event.share, _progress_words(event))


def _progress_words(event: FetchProgress) -> str:
    words = {
        # Rounded down: 100% is said when all is there.
        "percent": f"{int(100 * event.share)}%",
        "done": readable.size(event.done_bytes),
        "total": readable.size(event.total_bytes),
    }
    if event.seconds_left is None:
        return say("fetching.pull.progress_start", **words)
    speed, left = readable.size(event.bytes_per_second), readable.duration(event.seconds_left)
    return say("fetching.pull.progress", speed=speed, left=left, **words)


def _announced(made: FetchPlan) -> str:
    hosts = dict.fromkeys(repository.hub.host for repository in made.repositories)
    words = {
        "name": made.name,
        "files": len(made.files),
        "total": readable.size(made.total_bytes),
        "where": ", ".join(hosts),
    }
    if made.kept_bytes:
        return say("fetching.pull.plan_rest", kept=readable.size(made.kept_bytes), **words)
    return say("fetching.pull.plan", **words)


def _told(made: FetchPlan, done: FetchDone) -> str:
    if not done.received_bytes:
        return say("fetching.pull.done_nothing", name=made.name)
    return say(
        "fetching.pull.done",
        name=made.name,
        received=readable.size(done.received_bytes),
        time=readable.duration(done.seconds),
        speed=readable.size(done.received_bytes / max(done.seconds, 1e-3)),
    )


def _tell_next(made: FetchPlan, settings: Settings) -> None:
    """The command that starts the model, or what still keeps it from running."""
    hub_id, file = "/".join(made.name.split("/")[:2]), "/".join(made.name.split("/")[2:])
    reference = str(made.repositories[0].folder / file) if file else hub_id
    try:
        catalog.resolve(reference, settings)
    except ChatuiError as error:
        write_stderr(str(error))
    else:
        command = shlex.join(["chatui", "--model", reference])
        write_line(say("fetching.pull.next", command=command))


def _again(args: argparse.Namespace) -> str:
    """The command that goes on with this one."""
    words = ["chatui", "pull", args.name]
    words += ["--from", args.source] if args.source else []
    words += ["--mirror", args.mirror] if args.mirror else []
    return shlex.join(words)
