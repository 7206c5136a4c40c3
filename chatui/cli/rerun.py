"""``chatui replay --rerun``: generate the replies again, and say from which token they differ."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from chatui.backends.protocol import Backend
from chatui.catalog.model_description import model_description
from chatui.cli import request, session
from chatui.cli.ending import SUCCESS
from chatui.cli.output import write
from chatui.conversation.rounds import Piece, Round
from chatui.conversation.transcript import Transcript
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, Token
from chatui.prompting.parts import history_of
from chatui.sampling import SETTINGS, SamplingSettings, overridden
from chatui.text import in_quotes

DIFFERENT = 3
"""The exit code if a reply came out otherwise."""


@dataclass(frozen=True)
class Again:
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


def rerun(whole: Transcript, args: argparse.Namespace) -> int:
    """Run the rounds again, each on the history that was recorded; the exit code.

    Raises:
        ChatuiError: no round can be repeated, or its model cannot be loaded.
    """
    path = whole.path()
    wanted = [
        number for number, each in enumerate(path)
        if _ids(whole.pieces.get(each.id, ())) and (each.seed is not None or _is_greedy(each))
    ]  # fmt: skip
    for number in range(len(path)):
        if number not in wanted:
            write(say("cli.replay.not_again", number=number + 1) + "\n")
    if not wanted:
        raise ChatuiError(say("cli.replay.nothing_again"))
    settings = request.settings_of(args)
    differing = 0
    reasons: list[str] = []
    for name, numbers in groupby(wanted, key=lambda number: args.model or path[number].model):
        args_of_model = argparse.Namespace(**{**vars(args), "model": name})
        spec = request.spec_of(args_of_model, settings)
        group = list(numbers)

        async def work(
            interrupt: session.Interrupt, spec: Any = spec, group: list[int] = group
        ) -> int:
            nonlocal differing
            async with session.loaded(spec, interrupt) as (backend, model):
                for number in group:
                    pieces = whole.pieces[path[number].id]
                    began = time.monotonic()
                    again = await _compare(backend, path, number, pieces)
                    speed = again.tokens / max(time.monotonic() - began, 1e-6)
                    differing += again.differs_at is not None
                    write(_words(number + 1, again, speed) + "\n")
                reasons.extend(_reasons(whole.others, model_description(spec, model)))
            return SUCCESS

        session.run(work)
    if not differing:
        write(say("cli.replay.all_same", rounds=len(wanted)) + "\n")
        return SUCCESS
    write(say("cli.replay.different", count=differing, rounds=len(wanted)) + "\n")
    for reason in dict.fromkeys(reasons):
        write(f"  {reason}\n")
    return DIFFERENT


async def _compare(
    backend: Backend, path: Sequence[Round], number: int, pieces: Sequence[Piece]
) -> Again:
    recorded = [piece for piece in pieces if piece.token_id >= 0]
    one = path[number]
    sampling = _sampling(one)
    if one.state != "done":
        # It was cut off: what would have followed is not known.
        sampling = replace(sampling, max_new_tokens=len(recorded))
    history = history_of((each.query, each.reply) for each in path[:number])
    asked = GenerateRequest(one.query, history, sampling=sampling, think=one.sampling.get("think"))
    came: list[Token] = []
    async for event in backend.generate(asked):
        if isinstance(event, Token) and event.id >= 0:
            came.append(event)
    for place in range(max(len(recorded), len(came))):
        was = recorded[place] if place < len(recorded) else None
        became = came[place] if place < len(came) else None
        if was is None or became is None or was.token_id != became.id:
            texts = (was.text if was else "", became.text if became else "")
            return Again(place + 1, place + 1, *texts)
    return Again(len(came))


def _ids(pieces: Sequence[Piece]) -> bool:
    return any(piece.token_id >= 0 for piece in pieces)


def _sampling(one: Round) -> SamplingSettings:
    known = {name: value for name, value in one.sampling.items() if name in SETTINGS}
    return overridden(SamplingSettings(), known | {"seed": one.seed})


def _is_greedy(one: Round) -> bool:
    return _sampling(one).is_greedy


def _words(number: int, again: Again, speed: float) -> str:
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
