"""Save a reply while it streams, without blocking the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from chatui.conversation.rounds import Piece, Round
from chatui.conversation.store import Store
from chatui.errors import ChatuiError

_SAVE_SECONDS = 0.5
"""Seconds between saves; a piece is queued for saving within this time."""


class RoundWriter:
    """Buffers the pieces of a streaming round and saves them every half second.

    If saving fails, the pieces stay in memory and are saved with the next ones.

    Attributes:
        pieces: all pieces so far, saved or not.
    """

    def __init__(
        self,
        store: Store,
        round_id: int,
        on_problem: Callable[[ChatuiError], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        interval_seconds: float = _SAVE_SECONDS,
    ) -> None:
        """Start the clock of a round that ``Store.add_round`` returned.

        Args:
            on_problem: called with the error each time the pieces cannot be saved.
            clock: returns seconds.
        """
        self.pieces: list[Piece] = []
        self._store = store
        self._round_id = round_id
        self._on_problem = on_problem
        self._clock = clock
        self._interval = interval_seconds
        self._started = self._saved_at = clock()
        self._saved = 0
        self._is_finishing = False
        self._timer: asyncio.TimerHandle | None = None
        self._saving: asyncio.Task[None] | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the writer was created."""
        return self._clock() - self._started

    def add(
        self,
        text: str,
        token_id: int = -1,
        logprob: float | None = None,
        alternatives: tuple[tuple[int, str, float], ...] = (),
    ) -> None:
        """Add a streamed token and schedule it for saving."""
        self.pieces.append(Piece(self.seconds, text, token_id, logprob, alternatives))
        self._schedule_save()

    async def finish(self, ended: Round) -> None:
        """Save the unsaved pieces and the end of the round.

        Raises:
            ChatuiError: saving failed; the pieces are kept and the call can be repeated.
        """
        self._is_finishing = True
        if self._timer is not None:
            self._timer.cancel()
        if self._saving is not None:
            await asyncio.wait([self._saving])
        unsaved = tuple(self.pieces[self._saved :])
        await self._store.queued(self._store.finish_round, ended, unsaved)
        self._saved = len(self.pieces)

    def _schedule_save(self) -> None:
        """Schedule a save one interval after the last, unless one is scheduled or running."""
        is_scheduled = self._timer is not None or self._saving is not None
        if self._saved < len(self.pieces) and not is_scheduled and not self._is_finishing:
            delay = max(0.0, self._saved_at + self._interval - self._clock())
            self._timer = asyncio.get_running_loop().call_later(delay, self._start_saving)

    def _start_saving(self) -> None:
        self._timer = None
        self._saved_at = self._clock()
        self._saving = asyncio.ensure_future(self._save())

    async def _save(self) -> None:
        batch = self.pieces[self._saved :]
        try:
            await self._store.queued(self._store.append_pieces, self._round_id, batch)
            self._saved += len(batch)
        except ChatuiError as problem:
            self._on_problem(problem)
        finally:
            self._saving = None
            self._schedule_save()
