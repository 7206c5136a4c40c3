"""A transcript as it happened: steps on a clock of its own, and a player that goes along them."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from chatui.conversation.rounds import Round
from chatui.conversation.transcript import Transcript

LONGEST_GAP_SECONDS = 2.0
"""Between rounds, if no other limit is set: what the user needed to read and type is cut short."""


@dataclass(frozen=True, slots=True)
class ReplayStep:
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


def steps_of(transcript: Transcript, idle_limit: float | None = None) -> Iterator[ReplayStep]:
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

    Attributes:
        steps: in their order.
        reached: how many of them have happened.
        is_paused: whether time stands still.
    """

    def __init__(
        self,
        steps: Sequence[ReplayStep],
        speed: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin to play.

        Args:
            speed: 2 is twice as fast; above 0.
        """
        self.steps = tuple(steps)
        self.reached = 0
        self.is_paused = False
        self._times = [step.at_seconds for step in self.steps]
        self._speed = speed
        self._clock = clock
        self._at = 0.0
        self._since = clock()

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
        self._go_to(self.at_seconds)
        self._speed = speed

    @property
    def is_over(self) -> bool:
        """Whether all steps have happened."""
        return self.reached == len(self.steps)

    @property
    def point(self) -> ReplayPoint | None:
        """Where the replay is; None before the first round."""
        done = self.steps[: self.reached]
        if not done:
            return None
        last = done[-1].round
        pieces = sum(step.kind == "piece" and step.round is last for step in done)
        return ReplayPoint(last, None if done[-1].kind == "end" else pieces)

    def advance(self) -> int:
        """Let what is due by now happen; how many steps have happened in all."""
        if not self.is_paused:
            self.reached = max(self.reached, bisect_right(self._times, self.at_seconds))
        return self.reached

    def pause(self, is_paused: bool) -> None:
        """Stand still, or go on; at the end from the beginning."""
        self._go_to(0.0 if self.is_over and not is_paused else self.at_seconds)
        self.is_paused = is_paused

    def seek(self, at_seconds: float) -> None:
        """Jump to a moment."""
        self._go_to(min(max(at_seconds, 0.0), self.total_seconds))

    def step(self, count: int) -> None:
        """Let so many steps happen or unhappen, and stand still."""
        self.is_paused = True
        self._stand_behind(min(max(self.reached + count, 0), len(self.steps)))

    def step_round(self, count: int) -> None:
        """Go to the start of a later round, or of this or an earlier one; playing goes on."""
        starts = [place for place, step in enumerate(self.steps) if step.kind == "query"]
        if count > 0:
            later = [place for place in starts if place >= self.reached]
            place = later[min(count, len(later)) - 1] if later else len(self.steps) - 1
        else:
            earlier = [place for place in starts if place < self.reached - 1]
            place = earlier[max(len(earlier) + count, 0)] if earlier else 0
        self._stand_behind(min(place + 1, len(self.steps)))

    def _stand_behind(self, reached: int) -> None:
        self._at = self._times[reached - 1] if reached else 0.0
        self._since = self._clock()
        self.reached = reached

    def _go_to(self, at: float) -> None:
        self._at, self._since = at, self._clock()
        self.reached = bisect_right(self._times, at)
