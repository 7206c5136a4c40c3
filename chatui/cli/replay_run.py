"""Recorded queries asked again on one or more models: ``chatui replay --rerun`` and ``--model``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from chatui.backends.protocol import Backend, ScoringBackend
from chatui.catalog.model_description import model_description
from chatui.cli import request, session
from chatui.cli.exit_codes import SUCCESS
from chatui.cli.model_pool import ModelPool, model_pool
from chatui.cli.output import StatusLine, write_stderr
from chatui.cli.recorded_rounds import RecordedRound
from chatui.conversation.compared_replies import (
    RECORDED,
    ComparedReplies,
    ComparedReply,
    ComparedRound,
)
from chatui.errors import BackendLost, ChatuiError
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.text import one_line
from chatui.tui.model_names import display_name, reply_author

DIFFERENT = 3
"""Exit code of ``--rerun`` if a reply differs from the recorded one."""

RequestedModel = tuple[str | None, Sequence[Adapter]]
"""A model reference and its adapters; None is the model that was recorded."""


@dataclass(frozen=True)
class TokenComparison:
    """A new reply compared with the recorded one, token by token.

    Attributes:
        tokens: number of tokens compared.
        differs_at: the first token that differs, from 1; None if none does.
        before, after: text of that token in the recorded and the new reply; "" past the end.
    """

    tokens: int
    differs_at: int | None = None
    before: str = ""
    after: str = ""


def compare_tokens(recorded: ComparedReply, new: ComparedReply) -> TokenComparison:
    """Find the first token that differs."""
    for place in range(max(len(recorded.ids), len(new.ids))):
        (old_id, before), (new_id, after) = (
            (one.ids[place], one.pieces[place]) if place < len(one.ids) else (None, "")
            for one in (recorded, new)
        )
        if old_id != new_id:
            return TokenComparison(place + 1, place + 1, before, after)
    return TokenComparison(len(new.ids))


class ReplayRun:
    """Asks recorded queries on one or more models, each on the recorded history.

    Attributes:
        rounds: the recorded rounds.
        columns: for each model, its specs with the indices of their rounds. A model has several
            specs only if it is the recorded one and the transcripts have several.
        replies: the recorded replies in column 0, and those of model ``n`` in column ``n + 1``.
        descriptions: the model descriptions of the specs that were loaded.
    """

    def __init__(
        self,
        rounds: Sequence[RecordedRound],
        args: argparse.Namespace,
        models: Sequence[RequestedModel],
    ) -> None:
        """Resolve the models.

        Raises:
            ChatuiError: a model does not exist.
        """
        self.rounds = rounds
        settings = request.settings_of(args)

        def spec_of(name: str, adapters: Sequence[Adapter]) -> ModelSpec:
            values = {**vars(args), "model": name, "lora": list(adapters)}
            return request.spec_of(argparse.Namespace(**values), settings)

        self.columns: list[list[tuple[ModelSpec, list[int]]]] = []
        for reference, adapters in models:
            names = [reference or each.round.model for each in rounds]
            by_name = groupby(sorted(range(len(rounds)), key=names.__getitem__), names.__getitem__)
            self.columns.append([(spec_of(name, adapters), list(at)) for name, at in by_name])
        shown = [
            " / ".join(dict.fromkeys(display_name(reply_author(spec)) for spec, _ in column))
            for column in self.columns
        ]
        compared = [
            ComparedRound(each.file, each.number, each.round.query, {RECORDED: each.recorded})
            for each in rounds
        ]
        names = [say("compare.recorded"), *_numbered(shown)]
        self.replies = ComparedReplies(names, {}, compared)
        self.descriptions: dict[ModelSpec, Mapping[str, Any]] = {}
        self._line = StatusLine(sys.stderr)

    @property
    def differing(self) -> int:
        """Number of new replies that differ from a recorded one that should be repeatable."""
        return sum(
            compare_tokens(each.recorded, reply).differs_at is not None
            for each, one in zip(self.rounds, self.replies.rounds, strict=True)
            for column, reply in one.replies.items()
            if column != RECORDED and each.is_repeatable
        )

    def run(self, on_reply: Callable[[int, int], None], *, scores: bool) -> None:
        """Ask all models, one after the other.

        Args:
            on_reply: called with the column and the index of the round after each reply.
            scores: also let each model score the replies of the others.

        Raises:
            ChatuiError: a model cannot be loaded.
        """

        async def work(interrupt: session.InterruptHandler) -> int:
            async with model_pool(interrupt) as pool:
                for column in range(1, len(self.columns) + 1):
                    await self._run_column(pool, column, on_reply, scores)
                # The earlier models have not scored the replies that came after theirs.
                if scores and any(one.logprobs for one in self.replies.rounds):
                    for column in range(1, len(self.columns)):
                        await self._run_column(pool, column, None, scores)
            return SUCCESS

        session.run(work)

    async def _run_column(
        self,
        pool: ModelPool,
        column: int,
        on_reply: Callable[[int, int], None] | None,
        scores: bool,
    ) -> None:
        """Run one model; without ``on_reply`` it only scores."""
        for spec, places in self.columns[column - 1]:
            backend, model = await pool.use(spec)
            if on_reply is not None:
                description = model_description(spec, model)
                self.descriptions[spec] = self.replies.models[column] = description
            for number, place in enumerate(places, 1):
                name = one_line(self.replies.names[column])
                words = {"name": name, "done": number, "rounds": len(places)}
                self._line.show(say("compare.progress", **words))
                if on_reply is not None:
                    reply = await self.rounds[place].ask(backend, spec, model)
                    self.replies.rounds[place].replies[column] = reply
                if scores:
                    await self._score(backend, column, place)
                if on_reply is not None:
                    on_reply(column, place)

    async def _score(self, backend: Backend, model: int, place: int) -> None:
        """Score the replies to one query that the model of a column has not scored yet."""
        if not isinstance(backend, ScoringBackend):
            return
        one = self.replies.rounds[place]
        for column, reply in one.replies.items():
            if (column, model) in one.logprobs or reply.error or not reply.text.strip():
                continue
            try:
                scored = await backend.score(self.rounds[place].with_reply(reply.text))
            except BackendLost:
                raise
            except ChatuiError as problem:
                write_stderr(str(problem))
            else:
                one.logprobs[column, model] = scored.logprobs


def _numbered(names: Sequence[str]) -> list[str]:
    """Return the names, with a number added to repeated ones."""
    return [
        f"{name} ({names[: at + 1].count(name)})" if name in names[:at] else name
        for at, name in enumerate(names)
    ]
