"""``chatui replay --model OTHER``: recorded queries on other models, the replies side by side."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from chatui.backends.protocol import Backend, ScoringBackend
from chatui.catalog.model_description import model_description
from chatui.cli import request, session
from chatui.cli.exit_codes import SUCCESS
from chatui.cli.model_pool import ModelPool, model_pool
from chatui.cli.output import StatusLine, write, write_line, write_stderr, write_table
from chatui.cli.recorded_rounds import RecordedRound, replay_spec, rounds_of
from chatui.cli.rerun import DIFFERENT, compare_tokens
from chatui.conversation import comparison_report
from chatui.conversation.compared_replies import RECORDED, ComparedReplies, ComparedRound
from chatui.conversation.exports import write_whole
from chatui.conversation.transcript import Transcript
from chatui.errors import BackendLost, ChatuiError
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.text import one_line
from chatui.tui.model_names import author_of, shown_name

_LEAST_COLUMN_CELLS = 24
_GAP = "  "


@dataclass
class _Column:
    """A model that answers, and the rounds that go to each spec of it (its own for each model that
    was recorded, if none is named)."""

    runs: list[tuple[ModelSpec, list[int]]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return " / ".join(dict.fromkeys(shown_name(author_of(spec)) for spec, _ in self.runs))


def compare(
    wholes: Mapping[str, Transcript],
    args: argparse.Namespace,
    models: Sequence[tuple[str | None, Sequence[Adapter]]],
) -> int:
    """Run the queries on each model, each on the history that was recorded; the exit code.

    When all have answered, those before the last read the replies that came after theirs.

    Args:
        wholes: by the names of their files.
        models: references and adapters; None is the model that was recorded.

    Raises:
        ChatuiError: there is nothing to ask, a model cannot be loaded, or the report not written.
    """
    report = Path(args.report) if args.report else None
    form = comparison_report.report_form(report) if report else None
    asked = [each for name, whole in wholes.items() for each in rounds_of(name, whole)]
    if not asked:
        raise ChatuiError(say("compare.nothing"))
    columns = _columns(asked, args, models)
    names = (say("compare.recorded"), *_distinct([column.name for column in columns]))
    rounds = [
        ComparedRound(each.file, each.number, each.round.query, {RECORDED: each.recorded})
        for each in asked
    ]
    whole = ComparedReplies(names, {}, rounds)
    shows_at_once = report is None and len(columns) == 1
    runner = _Runner(whole, asked, show_rounds=shows_at_once)

    async def work(interrupt: session.InterruptHandler) -> int:
        async with model_pool(interrupt) as held:
            for at, column in enumerate(columns, 1):
                await runner.run(held, at, column, answers=True)
            for at, column in enumerate(columns[:-1], 1):
                if any(one.logprobs for one in rounds):
                    await runner.run(held, at, column, answers=False)
        return SUCCESS

    try:
        session.run(work)
    finally:
        # Also after Ctrl+C: what has come by then.
        if report is not None and form is not None and len(rounds[0].replies) > 1:
            write_whole(report, form(whole))
    if report is None:
        if not shows_at_once:
            for one in rounds:
                _show(whole, one)
        write_table(list(comparison_report.summary_rows(whole)), ("", *names))
    else:
        write_line(say("compare.written", path=report))
    different = any(
        each.is_repeatable and compare_tokens(each.recorded, reply).differs_at is not None
        for each, one in zip(asked, rounds, strict=True)
        for at, reply in one.replies.items()
        if at != RECORDED
    )
    return DIFFERENT if args.rerun and different else SUCCESS


def _columns(
    asked: Sequence[RecordedRound],
    args: argparse.Namespace,
    models: Sequence[tuple[str | None, Sequence[Adapter]]],
) -> list[_Column]:
    settings = request.settings_of(args)
    columns = []
    for reference, adapters in models:
        column = _Column()
        places = sorted(range(len(asked)), key=lambda place: reference or asked[place].round.model)
        for name, group in groupby(places, key=lambda at: reference or asked[at].round.model):
            column.runs.append((replay_spec(args, settings, name, adapters), list(group)))
        columns.append(column)
    return columns


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a number where the same stands before."""
    return [
        f"{name} ({names[: at + 1].count(name)})" if name in names[:at] else name
        for at, name in enumerate(names)
    ]


class _Runner:
    """Runs the models one after the other."""

    def __init__(
        self, whole: ComparedReplies, asked: Sequence[RecordedRound], *, show_rounds: bool
    ) -> None:
        """
        Args:
            show_rounds: show each round as soon as a model has answered.
        """
        self._whole = whole
        self._asked = asked
        self._show_rounds = show_rounds
        self._line = StatusLine(sys.stderr)

    async def run(self, held: ModelPool, at: int, column: _Column, *, answers: bool) -> None:
        """Let the model of a column answer, and score all replies that there are by then."""
        for spec, places in column.runs:
            backend, model = await held.use(spec)
            if answers:
                self._whole.models[at] = model_description(spec, model)
            for number, place in enumerate(places, 1):
                name = one_line(self._whole.names[at])
                words = {"name": name, "done": number, "rounds": len(places)}
                self._line.show(say("compare.progress", **words))
                one = self._whole.rounds[place]
                if answers:
                    one.replies[at] = await self._asked[place].ask(backend, spec, model)
                await self._score(backend, at, place)
                if self._show_rounds:
                    _show(self._whole, one)

    async def _score(self, backend: Backend, at: int, place: int) -> None:
        """The model of a column reads the replies that it has not read yet."""
        if not isinstance(backend, ScoringBackend):
            return
        one = self._whole.rounds[place]
        for column, reply in one.replies.items():
            if (column, at) in one.logprobs or reply.error or not reply.text.strip():
                continue
            try:
                scored = await backend.score(self._asked[place].with_reply(reply.text))
            except BackendLost:
                raise
            except ChatuiError as problem:
                write_stderr(str(problem))
            else:
                one.logprobs[column, at] = scored.logprobs


def _show(whole: ComparedReplies, one: ComparedRound) -> None:
    """A round on standard output: the query, then the replies side by side if there is room."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    columns = len(whole.names)
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((100, 24)).columns if is_terminal else 100
    console = Console(file=sys.stdout, highlight=False, width=width)
    cells: list[tuple[Text, Text, Text]] = []
    for at, (shown, spans) in enumerate(comparison_report.shown_replies(one, columns)):
        text, end = Text(), 0
        for start, stop in spans:
            text.append(shown[end:start])
            # Where no colour goes, wdiff's marks stand for it.
            marks = ("", "") if is_terminal else ("[-", "-]") if at == RECORDED else ("{+", "+}")
            text.append(marks[0] + shown[start:stop] + marks[1], "reverse")
            end = stop
        text.append(shown[end:])
        facts = comparison_report.facts_of(whole, one, at) if at in one.replies else ""
        cells.append((Text(one_line(whole.names[at]), "bold"), text, Text(facts, "dim")))
    heading = comparison_report.heading_of(one)
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
