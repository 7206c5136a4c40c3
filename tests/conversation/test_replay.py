"""The steps of a replay, and the player."""

from __future__ import annotations

from chatui.conversation.playback import Player
from chatui.conversation.rounds import Conversation, Piece, Round, Transcript

FIRST = Round(1, 0, None, "一", "甲乙", "done", started_at=1000, seconds=2)
OTHER = Round(2, 0, 1, "二", "丙", "done", started_at=1003, seconds=1)
LAST = Round(3, 0, 1, "二", "丁", "done", started_at=1100, seconds=1)
PIECES = {
    1: (Piece(0.5, " 甲"), Piece(1.5, "乙 ")),
    2: (Piece(0.5, "丙"),),
    3: (Piece(0.75, "丁"),),
}


def played(
    transcript: Transcript, idle_limit: float | None = None
) -> list[tuple[float, str, str, int]]:
    """Return the steps with the pause before each."""
    player = Player(transcript, idle_limit=idle_limit)
    steps = list(player.steps(0, player.step_count))
    times = [0.0, *(step.at_seconds for step in steps)]
    return [
        (after - before, step.kind, step.text, step.round.id)
        for before, after, step in zip(times, times[1:], steps, strict=False)
    ]


def of(head: int, pieces: dict[int, tuple[Piece, ...]] = PIECES) -> Transcript:
    return Transcript(Conversation(0, "t", 0, 0, 2, head), (FIRST, OTHER, LAST), pieces)


def test_the_recorded_timing_is_kept() -> None:
    assert played(of(2)) == [
        (0, "query", "一", 1),
        (0.5, "piece", " 甲", 1),
        (1.0, "piece", "乙 ", 1),
        (0.5, "end", "甲乙", 1),
        (1.0, "query", "二", 2),
        (0.5, "piece", "丙", 2),
        (0.5, "end", "丙", 2),
    ]


def test_long_pauses_are_shortened() -> None:
    waits = [step[0] for step in played(of(3))]
    assert waits == [0, 0.5, 1.0, 0.5, 2.0, 0.75, 0.25]
    assert [step[0] for step in played(of(3), idle_limit=0.25)] == [0] + [0.25] * 6
    assert {step[0] for step in played(of(3), idle_limit=0)} == {0}


def test_a_reply_without_pieces_is_one_piece() -> None:
    assert played(of(1, {})) == [
        (0, "query", "一", 1),
        (2, "piece", "甲乙", 1),
        (0, "end", "甲乙", 1),
    ]


def test_negative_pauses_are_zero() -> None:
    early = Round(2, 0, 1, "二", "丙", "done", started_at=900, seconds=0.1)
    pieces = {1: (Piece(1.0, "a"), Piece(0.5, "b"), Piece(3.0, "c")), 2: (Piece(0.2, "d"),)}
    transcript = Transcript(Conversation(0, "t", 0, 0, 2, 2), (FIRST, early), pieces)
    waits = [round(step[0], 9) for step in played(transcript)]
    assert waits == [0, 1, 0, 2, 0, 0, 0.2, 0]


def test_an_empty_transcript_has_no_steps() -> None:
    empty = Transcript(Conversation(0, "", 0, 0), ())
    assert played(empty) == []
    player = Player(empty)
    player.step(1)
    player.step_round(-1)
    player.pause(False)
    assert (player.advance(), player.is_over, player.total_seconds) == (0, True, 0.0)
    assert player.point is None


class Clock:
    """A clock that tests set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_player_keeps_time_with_speeds_and_pauses() -> None:
    clock = Clock()
    player = Player(of(2), clock=clock)
    assert player.advance() == 1
    clock.now += 0.5
    assert player.advance() == 2
    player.speed = 0.25
    clock.now += 2.0
    assert (player.at_seconds, player.advance()) == (1.0, 2)
    player.pause(True)
    clock.now += 60
    assert (player.at_seconds, player.advance()) == (1.0, 2)
    player.pause(False)
    player.speed = 16
    clock.now += 0.5 / 16
    assert player.advance() == 3
    clock.now += 60
    assert (player.at_seconds, player.advance(), player.is_over) == (4.0, 7, True)
    player.pause(False)
    assert (player.at_seconds, player.steps_done) == (0.0, 1)


def test_a_player_steps_by_token_and_round_and_seeks() -> None:
    clock = Clock()
    player = Player(of(2), clock=clock)
    player.advance()
    player.step(1)
    assert (player.steps_done, player.is_paused, player.at_seconds) == (2, True, 0.5)
    player.step(-1)
    assert player.steps_done == 1
    player.step(-9)
    assert player.steps_done == 0
    player.step(99)
    assert player.is_over
    player.step_round(-1)
    assert player.steps_done == 5 and player.rounds_begun() == 2
    assert [step.text for step in player.steps(1, 4)] == [" 甲", "乙 ", "甲乙"]
    player.step_round(-1)
    assert player.steps_done == 1
    player.step_round(1)
    assert player.steps_done == 5
    player.step_round(1)
    assert player.is_over
    player.seek(1.6)
    assert (player.steps_done, player.at_seconds) == (3, 1.6)
    player.seek(-5)
    assert player.steps_done == 1
    player.seek(99)
    assert player.is_over
