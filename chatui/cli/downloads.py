"""``chatui pull`` and ``chatui rm``: download and delete models."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import closing

from chatui import catalog, readable
from chatui.catalog.fetching import planning
from chatui.catalog.fetching.fetch import Fetch, FetchDone, FetchNote, FetchProgress
from chatui.catalog.fetching.planning import FetchPlan
from chatui.catalog.fetching.removing import plan_removal, remove
from chatui.cli.exit_codes import ERROR, SUCCESS, UsageError, message_on_interrupt
from chatui.cli.output import StatusLine, write, write_line, write_stderr, write_table
from chatui.cli.progress import ProgressDisplay
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.settings import Settings, load_settings


def pull(args: argparse.Namespace) -> int:
    """Download all parts of a model, with one progress display."""
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
    return say(
        f"fetching.pull.{'progress_start' if event.seconds_left is None else 'progress'}",
        # Rounded down, so that 100% means complete.
        percent=f"{int(100 * event.share)}%",
        done=readable.size(event.done_bytes),
        total=readable.size(event.total_bytes),
        speed=readable.size(event.bytes_per_second),
        left=readable.duration(event.seconds_left or 0),
    )


def _plan_text(plan: FetchPlan) -> str:
    return say(
        f"fetching.pull.{'plan_rest' if plan.kept_bytes else 'plan'}",
        name=plan.name,
        files=len(plan.files),
        total=readable.size(plan.total_bytes),
        kept=readable.size(plan.kept_bytes),
        where=", ".join(dict.fromkeys(each.hub.host for each in plan.repositories)),
    )


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


def rm(args: argparse.Namespace) -> int:
    """Delete a downloaded model after confirmation."""
    with message_on_interrupt(lambda: say("fetching.rm.kept")):
        removal = plan_removal(args.name, load_settings())
        write_table(
            (item.title, readable.size(item.size_bytes), str(item.root)) for item in removal.items
        )
        if len(removal.items) > 1:
            write_line(say("fetching.rm.total", size=readable.size(removal.size_bytes)))
        for note in removal.notes:
            write_stderr(note)
        agreed = args.yes or _agreed()
    if not agreed:
        write_stderr(say("fetching.rm.kept"))
        return ERROR
    write_line(say("fetching.rm.done", size=readable.size(remove(removal))))
    return SUCCESS


def _agreed() -> bool:
    """Ask the user for confirmation; raises UsageError without a terminal."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(say("fetching.rm.not_asked"))
    answer = ""
    try:
        write(say("fetching.rm.question"))
        answer = sys.stdin.readline()
    finally:
        if not answer:
            # After Ctrl+C or Ctrl+D the cursor is still behind the question.
            write("\n")
    return answer.strip().casefold() in say("fetching.rm.answers").split()
