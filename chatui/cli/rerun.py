"""``chatui replay --rerun``: generate the replies again, and say from which token they differ."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from chatui.catalog.model_description import model_description
from chatui.cli import request, session
from chatui.cli.exit_codes import SUCCESS
from chatui.cli.output import write, write_line
from chatui.cli.recorded_rounds import RecordedRound, replay_spec, rounds_of
from chatui.conversation.compared_replies import OneReply
from chatui.conversation.transcript import Transcript
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.text import in_quotes, one_line

DIFFERENT = 3
"""The exit code if a reply came out otherwise."""


@dataclass(frozen=True)
class TokenComparison:
    """A reply beside the one that was recorded.

    Attributes:
        tokens: how many were compared.
        differs_at: the first one that differs, from 1; None if none does.
        was, became: that token's text before and now; "" behind an end.
    """

    tokens: int
    differs_at: int | None = None
    was: str = ""
    became: str = ""


def compare_tokens(recorded: OneReply, came: OneReply) -> TokenComparison:
    """Find the first token that is another one."""
    for place in range(max(len(recorded.ids), len(came.ids))):
        each = [
            (one.ids[place], one.pieces[place]) if place < len(one.ids) else (None, "")
            for one in (recorded, came)
        ]
        if each[0][0] != each[1][0]:
            return TokenComparison(place + 1, place + 1, each[0][1], each[1][1])
    return TokenComparison(len(came.ids))


def rerun(
    wholes: Mapping[str, Transcript],
    args: argparse.Namespace,
    models: Sequence[tuple[str | None, Sequence[Adapter]]],
) -> int:
    """Run the rounds again, each on the history that was recorded; the exit code.

    Args:
        wholes: by the names of their files.
        models: references and adapters; None is the model that was recorded.

    Raises:
        ChatuiError: no round can be repeated, or a model cannot be loaded.
    """
    found = [each for name, whole in wholes.items() for each in rounds_of(name, whole)]
    for each in found:
        if not each.is_repeatable:
            _write(wholes, each, say("cli.replay.not_again", number=each.number))
    wanted = [each for each in found if each.is_repeatable]
    if not wanted:
        raise ChatuiError(say("cli.replay.nothing_again"))
    settings = request.settings_of(args)
    differing = 0
    reasons: list[str] = []
    for reference, adapters in models:
        by_model = sorted(wanted, key=lambda each: each.round.model)
        for name, group in groupby(by_model, key=lambda each: reference or each.round.model):
            spec = replay_spec(args, settings, name, adapters)
            if len(models) > 1:
                write_line(say("cli.replay.model", name=one_line(name)))
            differing += _run(spec, list(group), wholes, reasons)
    count = len(wanted) * len(models)
    if not differing:
        write_line(say("cli.replay.all_same", rounds=count))
        return SUCCESS
    write_line(say("cli.replay.different", count=differing, rounds=count))
    for reason in dict.fromkeys(reasons):
        write(f"  {reason}\n")
    return DIFFERENT


def _run(
    spec: ModelSpec,
    rounds: Sequence[RecordedRound],
    wholes: Mapping[str, Transcript],
    reasons: list[str],
) -> int:
    """Run rounds on one model; how many differ. What is not as it was goes into ``reasons``."""
    differing = 0

    async def work(interrupt: session.InterruptHandler) -> int:
        nonlocal differing
        async with session.loaded_model(spec, interrupt) as (backend, model):
            for each in rounds:
                came = await each.ask(backend, spec, model)
                if came.error:
                    raise ChatuiError(came.error)
                again = compare_tokens(each.recorded, came)
                differing += again.differs_at is not None
                _write(wholes, each, _words(each.number, again, came.tokens_per_second or 0))
            now = model_description(spec, model)
            for file in dict.fromkeys(each.file for each in rounds):
                reasons.extend(_reasons(wholes[file].others, now))
        return SUCCESS

    session.run(work)
    return differing


def _write(wholes: Mapping[str, Transcript], one: RecordedRound, words: str) -> None:
    file = f"{one_line(one.file)}, " if len(wholes) > 1 else ""
    write(f"{file}{words}\n")


def _words(number: int, again: TokenComparison, speed: float) -> str:
    if again.differs_at is None:
        words = {"number": number, "tokens": again.tokens, "speed": f"{speed:.1f}"}
        return say("cli.replay.same", **words)
    was, became = (in_quotes(text) for text in (again.was, again.became))
    place = again.differs_at
    return say("cli.replay.differs", number=number, place=place, was=was, became=became)


def _reasons(others: Sequence[Mapping[str, Any]], now: Mapping[str, Any]) -> Iterator[str]:
    """What is not as it was, of what the recording says of its models."""
    models = [other for other in others if other.get("type") == "model"]
    if not models:
        yield say("cli.replay.no_model")
        return
    for name in ("name", "format", "weights", "adapters", "device", "dtype", "libraries"):
        was, became = models[-1].get(name), now.get(name)
        if was != became:
            shown = [in_quotes(str(value)) for value in (was, became)]
            yield say("cli.replay.changed", name=name, was=shown[0], became=shown[1])
