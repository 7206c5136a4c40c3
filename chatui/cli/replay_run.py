"""Recorded queries asked again on one or more models: ``chatui replay --rerun`` and ``--model``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import groupby, zip_longest
from typing import Any

from chatui.backends import registry
from chatui.backends.protocol import Backend, ScoringBackend
from chatui.catalog.model_description import model_description
from chatui.cli import request, session
from chatui.cli.exit_codes import SUCCESS
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
from chatui.messages import Adapter, Loaded, ModelSpec
from chatui.text import one_line
from chatui.tui.model_names import display_name, reply_author

RequestedModel = tuple[str | None, Sequence[Adapter]]
"""A model reference and its adapters; None is the model that was recorded."""


def first_difference(recorded: ComparedReply, new: ComparedReply) -> int | None:
    """Return the index of the first token that differs; None if none does."""
    pairs = enumerate(zip_longest(recorded.ids, new.ids))
    return next((at for at, (old_id, new_id) in pairs if old_id != new_id), None)


@dataclass
class _LoadedBase:
    """A base model in its own process, and the spec with the adapters that are loaded on it."""

    backend: Backend
    spec: ModelSpec
    loaded: Loaded


class ModelPool:
    """Loads models on demand and keeps those that fit beside each other.

    Models that differ in their adapters share one base. If a model would get quantised weights or
    a shorter window beside the others, the others are unloaded first.
    """

    def __init__(self, interrupt: session.InterruptHandler) -> None:
        self._interrupt = interrupt
        self._open: dict[ModelSpec, _LoadedBase] = {}

    async def use(self, spec: ModelSpec) -> tuple[Backend, Loaded]:
        """Return a backend that holds the model of ``spec``, and load it if necessary.

        Raises:
            ChatuiError: the model cannot be loaded.
        """
        base = replace(spec, adapters=())
        there = self._open.get(base)
        if there is None:
            there = await self._load_beside(spec) if self._open else None
            if there is None:
                await self.aclose()
                there = await self._load(spec, spec)
            session.write_notes(there.loaded)
            self._open[base] = there
        self._interrupt.backend = there.backend
        if there.spec != spec:
            there.loaded, there.spec = await session.load(there.backend, spec), spec
            session.write_notes(there.loaded)
        return there.backend, there.loaded

    async def aclose(self) -> None:
        """Unload all models."""
        while self._open:
            await self._open.popitem()[1].backend.close()

    async def _load_beside(self, spec: ModelSpec) -> _LoadedBase | None:
        """Load a model beside the others; None if it is not the same as it would be alone."""
        plain = replace(spec, weights="plain") if spec.weights == "auto" else spec
        try:
            made = await self._load(spec, plain)
        except ChatuiError:
            return None
        loaded = made.loaded
        # A reduction to fit has a note, except for loading a 16-bit file in 16 bits.
        narrowed = loaded.device == "cpu" and loaded.dtype == "bfloat16" and spec.dtype == "auto"
        if loaded.notes or narrowed:
            await made.backend.close()
            return None
        return made

    async def _load(self, spec: ModelSpec, wanted: ModelSpec) -> _LoadedBase:
        self._interrupt.backend = backend = registry.create(spec.backend)
        try:
            return _LoadedBase(backend, spec, await session.load(backend, wanted))
        except BaseException:
            await backend.close()
            raise


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
            first_difference(each.recorded, reply) is not None
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
            async with aclosing(ModelPool(interrupt)) as pool:
                columns = range(1, len(self.columns) + 1)
                async for column, place, backend, spec, model in self._visit(pool, columns):
                    if spec not in self.descriptions:
                        self.descriptions[spec] = model_description(spec, model)
                    self.replies.models[column] = self.descriptions[spec]
                    reply = await self.rounds[place].ask(backend, spec, model)
                    self.replies.rounds[place].replies[column] = reply
                    if scores:
                        await self._score(backend, column, place)
                    on_reply(column, place)
                # The earlier models have not scored the replies that came after theirs.
                if scores and any(one.logprobs for one in self.replies.rounds):
                    async for column, place, backend, *_ in self._visit(pool, columns[:-1]):
                        await self._score(backend, column, place)
            return SUCCESS

        session.run(work)

    async def _visit(
        self, pool: ModelPool, columns: Iterable[int]
    ) -> AsyncIterator[tuple[int, int, Backend, ModelSpec, Loaded]]:
        """Load the models of the columns in turn, and show the progress.

        Yields:
            (column, index of a round, backend, spec, loaded model) for each round.
        """
        for column in columns:
            name = one_line(self.replies.names[column])
            for spec, places in self.columns[column - 1]:
                backend, model = await pool.use(spec)
                for number, place in enumerate(places, 1):
                    words = {"name": name, "done": number, "rounds": len(places)}
                    self._line.show(say("compare.progress", **words))
                    yield column, place, backend, spec, model

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
