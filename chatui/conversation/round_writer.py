"""Saving a reply while it streams, from an event loop that never waits for the disk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from chatui.conversation.rounds import Piece, Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError

SAVE_SECONDS = 0.5
"""A piece waits at most so long before it is saved."""


class RoundWriter:
    """Buffers the pieces of one streaming round and saves them every half second.

    Pieces that cannot be saved stay in memory and are tried again with the next ones.

    Attributes:
        pieces: the reply so far, saved or not.
    """

    def __init__(
        self,
        store: Store,
        round_id: int,
        on_problem: Callable[[ChatuiError], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        interval_seconds: float = SAVE_SECONDS,
    ) -> None:
        """Begin to write a round that ``Store.add_round`` returned.

        Args:
            on_problem: called each time the pieces could not be saved.
            clock: seconds; pieces are timed from now on.
        """
        self.pieces: list[Piece] = []
        self._store = store
        self._round_id = round_id
        self._on_problem = on_problem
        self._clock = clock
        self._interval = interval_seconds
        self._started = self._saved_at = clock()
        self._unsaved: list[Piece] = []
        self._is_finishing = False
        self._timer: asyncio.TimerHandle | None = None
        self._saving: asyncio.Task[None] | None = None

    @property
    def seconds(self) -> float:
        """Since the writer began."""
        return self._clock() - self._started

    def add(
        self,
        text: str,
        token_id: int = -1,
        logprob: float | None = None,
        alternatives: tuple[tuple[int, str, float], ...] = (),
    ) -> None:
        """Take one streamed token; it is saved soon."""
        piece = Piece(self.seconds, text, token_id, logprob, alternatives)
        self._unsaved.append(piece)
        self.pieces.append(piece)
        self._plan()

    async def finish(self, ended: Round) -> None:
        """Save the rest and end the round.

        Raises:
            ChatuiError: it cannot be saved; everything is kept and the call can be repeated.
        """
        self._is_finishing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._saving is not None:
            await asyncio.wait([self._saving])
        await self._store.queued(self._store.finish_round, ended, tuple(self._unsaved))
        self._unsaved = []

    def _plan(self) -> None:
        """Save an interval after the last time, unless that is planned or going on."""
        is_planned = self._timer is not None or self._saving is not None
        if self._unsaved and not is_planned and not self._is_finishing:
            delay = max(0.0, self._saved_at + self._interval - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._begin_to_save)

    def _begin_to_save(self) -> None:
        self._timer = None
        self._saved_at = self._clock()
        self._saving = asyncio.ensure_future(self._save())

    async def _save(self) -> None:
        batch, self._unsaved = self._unsaved, []
        try:
            await self._store.queued(self._store.append_pieces, self._round_id, batch)
        except ChatuiError as problem:
            self._unsaved = batch + self._unsaved
            self._on_problem(problem)
        finally:
            self._saving = None
            self._plan()
