"""When what is shown, when a transcript is played: a schedule, without a clock or a screen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from chatui.conversation.rounds import Round
from chatui.conversation.transcript import Transcript
from chatui.errors import ChatuiError
from chatui.locales import say

LONGEST_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class Beat:
    """One step of a replay.

    Attributes:
        wait_seconds: to wait before it, after the step before.
        kind: "query": a round begins; "piece": its reply grows; "end": it is over.
        text: the query; what the reply grows by; the whole reply as it was kept, which may differ
            from the pieces by the format's clean-up.
        round: the round it belongs to.
    """

    wait_seconds: float
    kind: Literal["query", "piece", "end"]
    text: str
    round: Round


def schedule(
    transcript: Transcript,
    speed: float = 1.0,
    longest_pause_seconds: float = LONGEST_PAUSE_SECONDS,
) -> Iterator[Beat]:
    """The steps of a transcript from its first round to its head, in their own timing.

    A reply takes the time it took; what the user needed to read and type is cut short. A reply
    without pieces comes whole, after the time it took or the longest pause.

    Args:
        speed: 2 is twice as fast; ``math.inf`` waits nowhere.
        longest_pause_seconds: between rounds, before ``speed`` is applied.

    Raises:
        ChatuiError: the speed is no number above 0.
    """
    if math.isnan(speed) or speed <= 0:
        raise ChatuiError(say("conversation.wrong_speed", speed=speed))
    return _beats(transcript, speed, longest_pause_seconds)


def _beats(transcript: Transcript, speed: float, longest_pause: float) -> Iterator[Beat]:
    ended_at: float | None = None
    for this in transcript.path():
        gap = 0.0 if ended_at is None else this.started_at - ended_at
        yield Beat(min(max(gap, 0.0), longest_pause) / speed, "query", this.query, this)
        now = 0.0
        pieces = transcript.pieces.get(this.id, ())
        for piece in pieces:
            wait = max(piece.at_seconds - now, 0.0)
            now += wait
            yield Beat(wait / speed, "piece", piece.text, this)
        if not pieces and this.reply:
            now = this.seconds
            yield Beat(min(now, longest_pause) / speed, "piece", this.reply, this)
        yield Beat(max(this.seconds - now, 0.0) / speed, "end", this.reply, this)
        ended_at = this.started_at + max(this.seconds, now)
