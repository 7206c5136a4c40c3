"""Replay transcripts: timed steps, and a player that can pause and seek."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from chatui.conversation.rounds import Piece, Round, Transcript

LONGEST_GAP_SECONDS = 2.0
"""Maximum pause between rounds, in which the user read and typed, unless set otherwise."""


class ReplayStep(msgspec.Struct, frozen=True):
    """A step of a replay.

    Attributes:
        at_seconds: time since the start of the replay, at normal speed.
        kind: "query" begins a round, "piece" adds to its reply, "end" ends it.
        text: the query, the added text, or the final reply, which may differ from the pieces by
            the format's clean-up.
        round: the round of the step.
    """

    at_seconds: float
    kind: Literal["query", "piece", "end"]
    text: str
    round: Round


@dataclass(frozen=True)
class ReplayPoint:
    """A position in a replay.

    Attributes:
        round: the round being played, or the last one that ended.
        pieces: number of pieces of its reply played so far; None once it has ended.
    """

    round: Round
    pieces: int | None


class Player:
    """Plays the steps of a replay with the recorded timing. Keeps only their times in memory.

    A reply without pieces is one piece, after the duration of its round, which is limited like the
    pause between rounds.

    Attributes:
        rounds: from the first to the head.
        start_seconds: start of each round, at normal speed.
        total_seconds: duration of the replay at normal speed.
        step_count: number of steps.
        steps_done: number of steps played so far.
        is_paused: whether the clock is stopped.
    """

    def __init__(
        self,
        transcript: Transcript,
        speed: float = 1.0,
        idle_limit: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start playing.

        Args:
            speed: 2 is twice as fast; above 0.
            idle_limit: maximum of all pauses in seconds; None limits only those between rounds, to
                ``LONGEST_GAP_SECONDS``.
        """
        self.rounds = transcript.path()
        self.steps_done = 0
        self.is_paused = False
        self._pieces = transcript.pieces
        self._unpacked: tuple[int | None, tuple[Piece, ...]] = (None, ())
        self._times = array("d")
        # Indexes of the query steps.
        self._starts: list[int] = []
        for times in _round_times(transcript, idle_limit):
            self._starts.append(len(self._times))
            self._times.extend(times)
        self.start_seconds = [self._times[start] for start in self._starts]
        self.total_seconds = self._times[-1] if self._times else 0.0
        self.step_count = len(self._times)
        self._ends = [*self._starts[1:], self.step_count]
        self._speed = speed
        self._clock = clock
        self._at = 0.0
        self._since = clock()

    def steps(self, first: int, last: int) -> Iterator[ReplayStep]:
        """Yield the steps with indexes ``first`` to ``last`` - 1."""
        for index in range(first, last):
            at, done, is_end = self._position(index + 1)
            each, seconds = self.rounds[at], self._times[index]
            if done == 1:
                yield ReplayStep(seconds, "query", each.query, each)
            elif is_end:
                yield ReplayStep(seconds, "end", each.reply, each)
            else:
                yield ReplayStep(seconds, "piece", self._piece_text(each, done - 2, done - 1), each)

    def rounds_begun(self, steps_done: int | None = None) -> int:
        """Return the number of rounds begun after ``steps_done`` steps; None means now."""
        return bisect_left(self._starts, self.steps_done if steps_done is None else steps_done)

    def reply_so_far(self) -> str | None:
        """Return the text of the reply being played, None between replies."""
        if (point := self.point) is None or point.pieces is None:
            return None
        return self._piece_text(point.round, 0, point.pieces)

    def _position(self, steps_done: int) -> tuple[int, int, bool]:
        """Return a round's index, its steps among the first ``steps_done``, and if it has ended."""
        at = self.rounds_begun(steps_done) - 1
        return at, steps_done - self._starts[at], steps_done == self._ends[at]

    def _piece_text(self, each: Round, first: int, last: int) -> str:
        """Return the text of pieces of a round; a reply without pieces is a single one."""
        if self._unpacked[0] != each.id:
            self._unpacked = each.id, tuple(self._pieces.get(each.id, ()))
        pieces = self._unpacked[1]
        if not pieces:
            return each.reply if last else ""
        return "".join(piece.text for piece in pieces[first:last])

    @property
    def at_seconds(self) -> float:
        """Current time in the replay, at normal speed."""
        if self.is_paused:
            return self._at
        at = self._at + (self._clock() - self._since) * self._speed
        return min(at, self.total_seconds)

    @property
    def speed(self) -> float:
        """Speed of the replay; 2 is twice as fast."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._go_to_time(self.at_seconds)
        self._speed = speed

    @property
    def is_over(self) -> bool:
        """True if all steps have been played."""
        return self.steps_done == self.step_count

    @property
    def point(self) -> ReplayPoint | None:
        """Current position; None before the first round."""
        if not self.steps_done:
            return None
        at, done, is_end = self._position(self.steps_done)
        return ReplayPoint(self.rounds[at], None if is_end else done - 1)

    def advance(self) -> int:
        """Play the steps that are due, and return ``steps_done``."""
        if not self.is_paused:
            self.steps_done = max(self.steps_done, bisect_right(self._times, self.at_seconds))
        return self.steps_done

    def pause(self, is_paused: bool) -> None:
        """Pause, or continue; at the end, continue from the beginning."""
        self._go_to_time(0.0 if self.is_over and not is_paused else self.at_seconds)
        self.is_paused = is_paused

    def seek(self, at_seconds: float) -> None:
        """Jump to a time, clamped to the replay."""
        self._go_to_time(min(max(at_seconds, 0.0), self.total_seconds))

    def step(self, count: int) -> None:
        """Go ``count`` steps forward, or back if negative, and pause."""
        self.is_paused = True
        self._go_to_step(min(max(self.steps_done + count, 0), self.step_count))

    def step_round(self, count: int) -> None:
        """Go ``count`` rounds forward, or back if negative, without pausing.

        One round back is the start of the current round, unless only its query was played.
        """
        if count > 0:
            later = self._starts[self.rounds_begun() :]
            index = later[min(count, len(later)) - 1] if later else self.step_count - 1
        else:
            earlier = self._starts[: self.rounds_begun(self.steps_done - 1)]
            index = earlier[max(len(earlier) + count, 0)] if earlier else 0
        self._go_to_step(min(index + 1, self.step_count))

    def _go_to_step(self, steps_done: int) -> None:
        self._at = self._times[steps_done - 1] if steps_done else 0.0
        self._since = self._clock()
        self.steps_done = steps_done

    def _go_to_time(self, at: float) -> None:
        self._at, self._since = at, self._clock()
        self.steps_done = bisect_right(self._times, at)


def _round_times(transcript: Transcript, idle_limit: float | None) -> Iterator[list[float]]:
    """Yield the times of each round's steps in seconds, from the first round to the head."""
    longest_gap = LONGEST_GAP_SECONDS if idle_limit is None else idle_limit
    longest_pause = float("inf") if idle_limit is None else idle_limit
    at = 0.0
    ended_at: float | None = None
    for each in transcript.path():
        gap = 0.0 if ended_at is None else each.started_at - ended_at
        at += min(max(gap, 0.0), longest_gap)
        times = [at]
        now = 0.0
        pieces = transcript.pieces.get(each.id, ())
        for piece in pieces:
            wait = max(piece.at_seconds - now, 0.0)
            now += wait
            at += min(wait, longest_pause)
            times.append(at)
        if not pieces and each.reply:
            now = each.seconds
            at += min(now, longest_gap)
            times.append(at)
        at += min(max(each.seconds - now, 0.0), longest_pause)
        yield [*times, at]
        ended_at = each.started_at + max(each.seconds, now)
