"""``chatui replay --rerun``: generate the replies again and show the first token that differs."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatui.cli.exit_codes import SUCCESS
from chatui.cli.output import write, write_line
from chatui.cli.recorded_rounds import RecordedRound, rounds_of
from chatui.cli.replay_run import DIFFERENT, ReplayRun, RequestedModel, compare_tokens
from chatui.conversation.rounds import Transcript
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import in_quotes, one_line


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

    rounds = rounds_of(transcripts)
    for each in rounds:
        if not each.is_repeatable:
            write_line(say("cli.replay.not_again", round=heading(each)))
    repeatable = [each for each in rounds if each.is_repeatable]
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
        found = compare_tokens(one.recorded, reply)
        if found.differs_at is None:
            speed = f"{reply.tokens_per_second or 0:.1f}"
            text = say("cli.replay.same", round=heading(one), tokens=found.tokens, speed=speed)
        else:
            was, became = in_quotes(found.before), in_quotes(found.after)
            words = {"place": found.differs_at, "was": was, "became": became}
            text = say("cli.replay.differs", round=heading(one), **words)
        write_line(text)

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
