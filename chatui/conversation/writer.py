"""Saving a reply while it streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from chatui.conversation.rounds import Piece, Round, State
from chatui.conversation.store import Store
from chatui.errors import ChatuiError

FLUSH_SECONDS = 0.5

CallLater: TypeAlias = Callable[[float, Callable[[], None]], Any]
"""(delay in seconds, what to call), as an event loop's ``call_later``."""


class RoundWriter:
    """Buffers the pieces of one streaming round and saves them at most every half second.

    While a reply streams nothing is raised: what cannot be saved stays in memory, ``problem`` says
    why, and the next flush tries again. :meth:`flush` and :meth:`finish` raise it, and can be
    called again once the user has made room.

    Attributes:
        problem: why the last attempt to save failed; None when all is well.
    """

    def __init__(
        self,
        store: Store,
        round_id: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval_seconds: float = FLUSH_SECONDS,
        call_later: CallLater | None = None,
    ) -> None:
        """Begin to write a round that ``Store.add_round`` gave.

        Args:
            clock: seconds; the round's pieces are timed from now on.
            call_later: saves a piece after which none comes for a while; None takes the running
                event loop's, where there is one. Without any, call :meth:`tick` now and then.
        """
        self.problem: ChatuiError | None = None
        self._store = store
        self._round_id = round_id
        self._clock = clock
        self._interval = interval_seconds
        self._call_later = call_later or _loop_call_later()
        self._started = clock()
        self._flushed_at = self._started
        self._pieces: list[Piece] = []
        self._texts: list[str] = []
        self._called = False

    @property
    def round_id(self) -> int:
        return self._round_id

    @property
    def text(self) -> str:
        """The reply so far, saved or not."""
        return "".join(self._texts)

    @property
    def unsaved(self) -> tuple[Piece, ...]:
        """What a crash now would lose."""
        return tuple(self._pieces)

    def add(self, text: str, token_id: int = -1, logprob: float | None = None) -> None:
        """One streamed token; saved now if the last flush is an interval ago, or soon."""
        self._pieces.append(Piece(self._clock() - self._started, text, token_id, logprob))
        self._texts.append(text)
        self.tick()
        if self._pieces and self._call_later is not None and not self._called:
            self._called = True
            self._call_later(self._interval, self._on_call)

    def tick(self) -> None:
        """Save what is buffered, if the last attempt is an interval ago."""
        if self._pieces and self._clock() - self._flushed_at >= self._interval:
            self._try_flush()

    def flush(self) -> None:
        """Save what is buffered now.

        Raises:
            ChatuiError: it cannot be saved; it is kept and can be tried again.
        """
        self._try_flush()
        if self.problem is not None:
            raise self.problem

    def finish(
        self,
        state: State = "done",
        reply: str | None = None,
        *,
        finish_reason: str | None = None,
        seed: int | None = None,
        prompt_tokens: int = 0,
        reused_tokens: int = 0,
        output_tokens: int | None = None,
        seconds: float | None = None,
        error: str | None = None,
    ) -> Round:
        """Save the rest and end the round.

        Args:
            reply: as shown and kept; None takes the joined pieces.
            output_tokens: None counts the pieces.
            seconds: None takes the time since the writer began.

        Raises:
            ChatuiError: it cannot be saved; everything is kept and the call can be repeated.
        """
        elapsed = self._clock() - self._started
        try:
            ended = self._store.finish_round(
                self._round_id,
                state,
                self.text if reply is None else reply,
                pieces=self._pieces,
                finish_reason=finish_reason,
                seed=seed,
                prompt_tokens=prompt_tokens,
                reused_tokens=reused_tokens,
                output_tokens=len(self._texts) if output_tokens is None else output_tokens,
                seconds=elapsed if seconds is None else seconds,
                error=error,
            )
        except ChatuiError as problem:
            self.problem = problem
            raise
        self._pieces = []
        self.problem = None
        return ended

    def _on_call(self) -> None:
        self._called = False
        if self._pieces:
            self._try_flush()

    def _try_flush(self) -> None:
        self._flushed_at = self._clock()
        try:
            self._store.append_pieces(self._round_id, self._pieces)
        except ChatuiError as problem:
            self.problem = problem
            return
        self._pieces = []
        self.problem = None


def _loop_call_later() -> CallLater | None:
    try:
        return asyncio.get_running_loop().call_later
    except RuntimeError:
        return None
