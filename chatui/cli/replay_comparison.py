"""``chatui replay --model OTHER``: recorded queries on other models, the replies side by side."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from chatui.cli.exit_codes import SUCCESS
from chatui.cli.output import write, write_line, write_table
from chatui.cli.recorded_rounds import rounds_of
from chatui.cli.replay_run import DIFFERENT, ReplayRun, RequestedModel
from chatui.conversation import comparison_report
from chatui.conversation.compared_replies import RECORDED, ComparedReplies, ComparedRound
from chatui.conversation.exports import write_atomically
from chatui.conversation.rounds import Transcript
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

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
