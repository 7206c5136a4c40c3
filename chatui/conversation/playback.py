"""A transcript as it happened: steps on a clock of its own, and a player that goes along them."""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec

from chatui.conversation.rounds import Piece, Round
from chatui.conversation.transcript import Transcript

LONGEST_GAP_SECONDS = 2.0
"""Between rounds, if no other limit is set: what the user needed to read and type is cut short."""


class ReplayStep(msgspec.Struct, frozen=True):
    """One step of a replay.

    Attributes:
        at_seconds: when it comes, from the start of the replay at its own speed.
        kind: "query": a round begins; "piece": its reply grows; "end": it is over.
        text: the query; what the reply grows by; the whole reply as it was kept, which may differ
            from the pieces by the format's clean-up.
        round: the round it belongs to.
    """

    at_seconds: float
    kind: Literal["query", "piece", "end"]
    text: str
    round: Round


@dataclass(frozen=True)
class ReplayPoint:
    """A moment of a replay.

    Attributes:
        round: the last one that has begun.
        pieces: how many pieces of its reply have come; None once it is over.
    """

    round: Round
    pieces: int | None


def replay_steps(transcript: Transcript, idle_limit: float | None = None) -> Iterator[ReplayStep]:
    """The steps of a transcript from its first round to its head, in their own timing.

    A reply takes the time it took. A reply without pieces comes whole, after the time it took, at
    most ``LONGEST_GAP_SECONDS``.

    Args:
        idle_limit: no pause is longer, in seconds; None shortens those between rounds alone.
    """
    longest_gap = LONGEST_GAP_SECONDS if idle_limit is None else idle_limit
    longest_pause = float("inf") if idle_limit is None else idle_limit
    at = 0.0
    ended_at: float | None = None
    for each in transcript.path():
        gap = 0.0 if ended_at is None else each.started_at - ended_at
        at += min(max(gap, 0.0), longest_gap)
        yield ReplayStep(at, "query", each.query, each)
        now = 0.0
        pieces = transcript.pieces.get(each.id, ())
        for piece in pieces:
            wait = max(piece.at_seconds - now, 0.0)
            now += wait
            at += min(wait, longest_pause)
            yield ReplayStep(at, "piece", piece.text, each)
        if not pieces and each.reply:
            now = each.seconds
            at += min(now, longest_gap)
            yield ReplayStep(at, "piece", each.reply, each)
        at += min(max(each.seconds - now, 0.0), longest_pause)
        yield ReplayStep(at, "end", each.reply, each)
        ended_at = each.started_at + max(each.seconds, now)


class Player:
    """Goes along the steps of a replay; its clock stands while it is paused.

    Of the steps the times alone are in memory.

    Attributes:
        rounds: from the first one to the head.
        step_count: how many steps there are.
        steps_done: how many of them have happened.
        is_paused: whether time stands still.
    """

    def __init__(
        self,
        whole: Transcript,
        speed: float = 1.0,
        idle_limit: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to play.

        Args:
            speed: 2 is twice as fast; above 0.
            idle_limit: as :func:`replay_steps` takes it.
        """
        self.rounds = whole.path()
        self.steps_done = 0
        self.is_paused = False
        self._pieces = whole.pieces
        self._unpacked: tuple[int | None, tuple[Piece, ...]] = (None, ())
        self._times = array("d")
        # The places of the queries.
        self._starts: list[int] = []
        for step in replay_steps(whole, idle_limit):
            if step.kind == "query":
                self._starts.append(len(self._times))
            self._times.append(step.at_seconds)
        self.step_count = len(self._times)
        self._ends = [*self._starts[1:], self.step_count]
        self._speed = speed
        self._clock = clock
        self._at = 0.0
        self._since = clock()

    def steps(self, first: int, last: int) -> Iterator[ReplayStep]:
        """The steps from place ``first`` on, up to ``last``."""
        for place in range(first, last):
            at, done, is_end = self._position(place + 1)
            each, seconds = self.rounds[at], self._times[place]
            if done == 1:
                yield ReplayStep(seconds, "query", each.query, each)
            elif is_end:
                yield ReplayStep(seconds, "end", each.reply, each)
            else:
                yield ReplayStep(seconds, "piece", self._piece_text(each, done - 2, done - 1), each)

    def rounds_begun(self, steps_done: int | None = None) -> int:
        """How many rounds have begun when so many steps have happened; None: by now."""
        return bisect_left(self._starts, self.steps_done if steps_done is None else steps_done)

    def reply_so_far(self) -> str | None:
        """What the reply has come to that is being played; None if none is."""
        if (point := self.point) is None or point.pieces is None:
            return None
        return self._piece_text(point.round, 0, point.pieces)

    def _position(self, steps_done: int) -> tuple[int, int, bool]:
        """Behind so many steps: a round's place, how many are its own, whether it is over."""
        at = self.rounds_begun(steps_done) - 1
        return at, steps_done - self._starts[at], steps_done == self._ends[at]

    def _piece_text(self, each: Round, first: int, last: int) -> str:
        """What pieces of a round spell; a reply without pieces is one."""
        if self._unpacked[0] != each.id:
            self._unpacked = each.id, tuple(self._pieces.get(each.id, ()))
        pieces = self._unpacked[1]
        if not pieces:
            return each.reply if last else ""
        return "".join(piece.text for piece in pieces[first:last])

    @property
    def start_seconds(self) -> list[float]:
        """When each round begins."""
        return [self._times[start] for start in self._starts]

    @property
    def total_seconds(self) -> float:
        """How long the whole is at its own speed."""
        return self._times[-1] if self._times else 0.0

    @property
    def at_seconds(self) -> float:
        """Where the replay is, in its own time."""
        if self.is_paused:
            return self._at
        at = self._at + (self._clock() - self._since) * self._speed
        return min(at, self.total_seconds)

    @property
    def speed(self) -> float:
        """2 is twice as fast; may be set."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._go_to_time(self.at_seconds)
        self._speed = speed

    @property
    def is_over(self) -> bool:
        """Whether all steps have happened."""
        return self.steps_done == self.step_count

    @property
    def point(self) -> ReplayPoint | None:
        """Where the replay is; None before the first round."""
        if not self.steps_done:
            return None
        at, done, is_end = self._position(self.steps_done)
        return ReplayPoint(self.rounds[at], None if is_end else done - 1)

    def advance(self) -> int:
        """Let what is due by now happen; how many steps have happened in all."""
        if not self.is_paused:
            self.steps_done = max(self.steps_done, bisect_right(self._times, self.at_seconds))
        return self.steps_done

    def pause(self, is_paused: bool) -> None:
        """Stand still, or go on; at the end from the beginning."""
        self._go_to_time(0.0 if self.is_over and not is_paused else self.at_seconds)
        self.is_paused = is_paused

    def seek(self, at_seconds: float) -> None:
        """Jump to a moment."""
        self._go_to_time(min(max(at_seconds, 0.0), self.total_seconds))

    def step(self, count: int) -> None:
        """Let so many steps happen or unhappen, and stand still."""
        self.is_paused = True
        self._go_to_step(min(max(self.steps_done + count, 0), self.step_count))

    def step_round(self, count: int) -> None:
        """Go to the start of a later round, or of this or an earlier one; playing goes on."""
        if count > 0:
            later = self._starts[self.rounds_begun() :]
            place = later[min(count, len(later)) - 1] if later else self.step_count - 1
        else:
            earlier = self._starts[: self.rounds_begun(self.steps_done - 1)]
            place = earlier[max(len(earlier) + count, 0)] if earlier else 0
        self._go_to_step(min(place + 1, self.step_count))

    def _go_to_step(self, steps_done: int) -> None:
        self._at = self._times[steps_done - 1] if steps_done else 0.0
        self._since = self._clock()
        self.steps_done = steps_done

    def _go_to_time(self, at: float) -> None:
        self._at, self._since = at, self._clock()
        self.steps_done = bisect_right(self._times, at)
