"""``chatui replay``: play a transcript with its timing, or ask its queries again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from chatui.cli.exit_codes import SUCCESS, UsageError
from chatui.cli.output import write, write_stderr
from chatui.conversation.json_records import UnreadableRecord
from chatui.conversation.playback import Player, ReplayPoint
from chatui.conversation.rounds import Transcript
from chatui.conversation.transcript_reader import read_transcript
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter

_SHOWN_FAULTS = 5
_STEPS_PER_WRITE = 1_000
"""Maximum number of due steps in one write."""


def run(args: argparse.Namespace) -> int:
    faults: list[str] = []

    def read(name: str) -> Transcript:
        def note(fault: UnreadableRecord) -> None:
            place = f"{name}, " + say("import.line", line=fault.line)
            faults.append(say("import.skipped", place=place, reason=fault.reason))

        return read_transcript(Path(name), note, encoding=args.encoding)

    transcripts = {name: read(name) for name in args.files}
    chosen = requested_models(args.models)
    if not chosen and (args.model or args.lora):
        chosen = [(args.model, args.lora or ())]
    if not (args.rerun or args.report or chosen or args.server):
        if len(transcripts) > 1:
            raise UsageError(say("compare.one_to_play"))
        ((name, whole),) = transcripts.items()
        if not whole.rounds:
            raise ChatuiError(say("compare.no_rounds", path=name))
        return _play(whole, args, faults)
    for fault in faults:
        write_stderr(fault)
    chosen = chosen or [(None, ())]
    from chatui.cli.replay_models import compare, rerun

    ask = rerun if args.rerun and not args.report else compare
    return ask(transcripts, args, chosen)


def requested_models(
    given: Sequence[str | Adapter],
) -> list[tuple[str | None, Sequence[Adapter]]]:
    """Return the models of ``--model`` and ``--lora``, in the order of the options.

    An adapter belongs to the model before it; one before all models belongs to each of them.
    """
    first: list[Adapter] = []
    models: list[tuple[str | None, list[Adapter]]] = []
    for each in given:
        if isinstance(each, str):
            models.append((each, [*first]))
        elif models:
            models[-1][1].append(each)
        else:
            first.append(each)
    return list(models) if models or not first else [(None, first)]


def _play(whole: Transcript, args: argparse.Namespace, faults: Sequence[str]) -> int:
    player = Player(whole, args.speed, args.idle_limit)
    if sys.stdin and sys.stdin.isatty() and sys.stdout.isatty():
        from chatui.settings import load_settings
        from chatui.tui.screens.replay_screen import ReplayApp

        point = ReplayApp(
            player, whole.conversation.title, load_settings().theme, tuple(faults[:_SHOWN_FAULTS])
        ).run()
        return SUCCESS if point is None else _continue(whole, args, point)
    for fault in faults:
        write_stderr(fault)
    began = time.monotonic()
    due: list[str] = []
    for step in player.steps(0, player.step_count):
        wait = began + step.at_seconds / args.speed - time.monotonic()
        if due and (wait > 0 or len(due) >= _STEPS_PER_WRITE):
            write("".join(due))
            due.clear()
        if wait > 0:
            time.sleep(wait)
        if step.kind == "query":
            due.append(say("cli.replay.query", query=step.text) + "\n\n")
        else:
            due.append(step.text if step.kind == "piece" else "\n\n")
    write("".join(due))
    return SUCCESS


def _continue(whole: Transcript, args: argparse.Namespace, point: ReplayPoint) -> int:
    """Open the app with a branch that ends at this point, and the recorded model."""
    from chatui.cli import request, start_app
    from chatui.conversation.continued_reply import resume

    # If the recorded model is missing, take the default one.
    with suppress(ChatuiError):
        wanted = argparse.Namespace(**{**vars(args), "model": point.round.model or None})
        request.spec_of(wanted, request.settings_of(wanted))
        args = wanted
    return start_app.run(args, lambda store: resume(store, whole, point))
