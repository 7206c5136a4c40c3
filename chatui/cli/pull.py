"""``chatui pull``: download all parts of a model, with one progress display."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import closing

from chatui import catalog, readable
from chatui.catalog.fetching import planning
from chatui.catalog.fetching.fetch import Fetch, FetchDone, FetchNote, FetchProgress
from chatui.catalog.fetching.planning import FetchPlan
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
    plan: FetchPlan | None = None

    def stopped() -> str:
        if plan is None:
            return say("fetching.pull.stopped_early")
        done, total = readable.size(plan.kept_bytes), readable.size(plan.total_bytes)
        return say("fetching.pull.stopped", done=done, total=total, command=_resume_command(args))

    with message_on_interrupt(stopped):
        StatusLine(sys.stdout).show(say("fetching.pull.asking", name=args.name))
        plan = planning.plan(args.name, settings, source=args.source, mirror=args.mirror)
        for note in plan.notes:
            write_stderr(note)
        if plan.files:
            write_line(_plan_text(plan))
            _fetch(plan)
        else:
            write_line(say("fetching.pull.nothing", name=plan.name))
    _write_next_step(plan, settings)
    return SUCCESS


def _fetch(plan: FetchPlan) -> None:
    """Download the files of a plan, and show the progress and the result."""
    display = ProgressDisplay()
    is_here = plan.kept_bytes == plan.total_bytes
    with closing(Fetch(plan).events()) as events:
        for event in events:
            if isinstance(event, FetchNote):
                write_stderr(event.sentence)
            elif isinstance(event, FetchDone):
                write_line(_result_text(plan, event))
            elif not is_here:
                display.update(event.share, _progress_text(event))


def _progress_text(event: FetchProgress) -> str:
    words = {
        # Rounded down, so that 100% means complete.
        "percent": f"{int(100 * event.share)}%",
        "done": readable.size(event.done_bytes),
        "total": readable.size(event.total_bytes),
    }
    if event.seconds_left is None:
        return say("fetching.pull.progress_start", **words)
    speed, left = readable.size(event.bytes_per_second), readable.duration(event.seconds_left)
    return say("fetching.pull.progress", speed=speed, left=left, **words)


def _plan_text(plan: FetchPlan) -> str:
    hosts = dict.fromkeys(repository.hub.host for repository in plan.repositories)
    words = {
        "name": plan.name,
        "files": len(plan.files),
        "total": readable.size(plan.total_bytes),
        "where": ", ".join(hosts),
    }
    if plan.kept_bytes:
        return say("fetching.pull.plan_rest", kept=readable.size(plan.kept_bytes), **words)
    return say("fetching.pull.plan", **words)


def _result_text(plan: FetchPlan, done: FetchDone) -> str:
    if not done.received_bytes:
        return say("fetching.pull.done_nothing", name=plan.name)
    return say(
        "fetching.pull.done",
        name=plan.name,
        received=readable.size(done.received_bytes),
        time=readable.duration(done.seconds),
        speed=readable.size(done.received_bytes / max(done.seconds, 1e-3)),
    )


def _write_next_step(plan: FetchPlan, settings: Settings) -> None:
    """Write the command that starts the model, or the reason why it cannot run yet."""
    hub_id, file = "/".join(plan.name.split("/")[:2]), "/".join(plan.name.split("/")[2:])
    reference = str(plan.repositories[0].folder / file) if file else hub_id
    try:
        catalog.resolve(reference, settings)
    except ChatuiError as error:
        write_stderr(str(error))
    else:
        command = shlex.join(["chatui", "--model", reference])
        write_line(say("fetching.pull.next", command=command))


def _resume_command(args: argparse.Namespace) -> str:
    """Return the command that resumes the download."""
    words = ["chatui", "pull", args.name]
    words += ["--from", args.source] if args.source else []
    words += ["--mirror", args.mirror] if args.mirror else []
    return shlex.join(words)
