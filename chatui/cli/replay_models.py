"""``chatui replay`` with models: recorded queries asked again, repeated or compared."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from chatui.cli.exit_codes import SUCCESS
from chatui.cli.output import write, write_line, write_table
from chatui.cli.recorded_rounds import RecordedRound, rounds_of
from chatui.cli.replay_run import ReplayRun, RequestedModel, first_difference
from chatui.conversation import comparison_report
from chatui.conversation.compared_replies import RECORDED, ComparedReplies, ComparedRound
from chatui.conversation.exports import write_atomically
from chatui.conversation.rounds import Transcript
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import in_quotes, one_line

DIFFERENT = 3
"""Exit code of ``--rerun`` if a reply differs from the recorded one."""

_LEAST_COLUMN_CELLS = 24
_GAP = "  "


def compare(
    transcripts: Mapping[str, Transcript],
    args: argparse.Namespace,
    models: Sequence[RequestedModel],
) -> int:
    """Ask the recorded queries on each model and show the replies; returns the exit code.

    Args:
        transcripts: by file name.

    Raises:
        ChatuiError: there is nothing to ask, a model cannot be loaded, or the report cannot be
            written.
    """
    report = Path(args.report) if args.report else None
    form = comparison_report.report_writer(report) if report else None
    rounds = rounds_of(transcripts)
    if not rounds:
        raise ChatuiError(say("compare.nothing"))
    run = ReplayRun(rounds, args, models)
    whole = run.replies
    shows_at_once = report is None and len(models) == 1

    def on_reply(column: int, place: int) -> None:
        if shows_at_once:
            _show(whole, whole.rounds[place])

    try:
        run.run(on_reply, scores=True)
    finally:
        # After Ctrl+C, the report holds the replies so far.
        if report is not None and form is not None and len(whole.rounds[0].replies) > 1:
            write_atomically(report, form(whole))
    if report is None:
        if not shows_at_once:
            for one in whole.rounds:
                _show(whole, one)
        write_table(comparison_report.summary_rows(whole), ("", *whole.names))
    else:
        write_line(say("compare.written", path=report))
    return DIFFERENT if args.rerun and run.differing else SUCCESS


def _show(whole: ComparedReplies, one: ComparedRound) -> None:
    """Write a round to standard output: the query, then the replies, side by side if they fit."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = len(whole.names)
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns if is_terminal else 100
    console = Console(file=sys.stdout, highlight=False, width=width)
    cells: list[tuple[Text, Text, Text]] = []
    for at, (shown, spans) in enumerate(comparison_report.marked_replies(one, columns)):
        text, end = Text(), 0
        for start, stop in spans:
            text.append(shown[end:start])
            # Without colours, mark as wdiff does.
            marks = ("", "") if is_terminal else ("[-", "-]") if at == RECORDED else ("{+", "+}")
            text.append(marks[0] + shown[start:stop] + marks[1], "reverse")
            end = stop
        text.append(shown[end:])
        facts = comparison_report.reply_facts(whole, one, at) if at in one.replies else ""
        cells.append((Text(one_line(whole.names[at]), "bold"), text, Text(facts, "dim")))
    heading = comparison_report.round_heading(one)
    write(f"{heading}\n" + say("cli.replay.query", query=one.query) + "\n\n")
    if width < columns * (_LEAST_COLUMN_CELLS + len(_GAP)):
        for each in cells:
            console.print(*each, "", sep="\n")
        return
    table = Table.grid(padding=(0, len(_GAP), 0, 0), expand=True)
    for _ in cells:
        table.add_column(ratio=1, overflow="fold")
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    console.print(table)
    console.print()


def rerun(
    transcripts: Mapping[str, Transcript],
    args: argparse.Namespace,
    models: Sequence[RequestedModel],
) -> int:
    """Generate the replies again on each model; returns the exit code.

    Args:
        transcripts: by file name.

    Raises:
        ChatuiError: no round can be repeated, or a model cannot be loaded or does not answer.
    """

    def heading(one: RecordedRound) -> str:
        if len(transcripts) > 1:
            return say("compare.round", file=one_line(one.file), number=one.number)
        return say("cli.replay.round", number=one.number)

    repeatable: list[RecordedRound] = []
    for each in rounds_of(transcripts):
        if each.is_repeatable:
            repeatable.append(each)
        else:
            write_line(say("cli.replay.not_again", round=heading(each)))
    if not repeatable:
        raise ChatuiError(say("cli.replay.nothing_again"))
    run = ReplayRun(repeatable, args, models)
    headings = set(run.replies.names[1:]) if len(models) > 1 else set()

    def on_reply(column: int, place: int) -> None:
        name, one = run.replies.names[column], repeatable[place]
        if name in headings:
            headings.remove(name)
            write_line(say("cli.replay.model", name=one_line(name)))
        reply = run.replies.rounds[place].replies[column]
        if reply.error:
            raise ChatuiError(reply.error)
        at = first_difference(one.recorded, reply)
        if at is None:
            words = {"tokens": len(reply.ids), "speed": f"{reply.tokens_per_second or 0:.1f}"}
            write_line(say("cli.replay.same", round=heading(one), **words))
            return
        # A reply that ended before has no token there.
        was, became = (
            in_quotes("".join(each.pieces[at : at + 1])) for each in (one.recorded, reply)
        )
        words = {"place": at + 1, "was": was, "became": became}
        write_line(say("cli.replay.differs", round=heading(one), **words))

    run.run(on_reply, scores=False)
    count, differing = len(repeatable) * len(models), run.differing
    if not differing:
        write_line(say("cli.replay.all_same", rounds=count))
        return SUCCESS
    write_line(say("cli.replay.different", count=differing, rounds=count))
    changes = (
        change
        for column in run.columns
        for spec, places in column
        for file in dict.fromkeys(repeatable[place].file for place in places)
        for change in _changes(transcripts[file].others, run.descriptions[spec])
    )
    for change in dict.fromkeys(changes):
        write(f"  {change}\n")
    return DIFFERENT


def _changes(others: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield the differences between the recorded model description and the present one."""
    models = [other for other in others if other.get("type") == "model"]
    if not models:
        yield say("cli.replay.no_model")
        return
    for name in ("name", "format", "weights", "adapters", "device", "dtype", "libraries"):
        was, became = models[-1].get(name), now.get(name)
        if was != became:
            shown = [in_quotes(str(value)) for value in (was, became)]
            yield say("cli.replay.changed", name=name, was=shown[0], became=shown[1])
