"""The schedule of a replay."""

from __future__ import annotations

import math

import pytest

from chatui.conversation.rounds import Conversation, Piece, Round
from chatui.conversation.transcript import Transcript, schedule
from chatui.errors import ChatuiError

FIRST = Round(1, 0, None, "一", "甲乙", "done", started_at=1000, seconds=2)
OTHER = Round(2, 0, 1, "二", "丙", "done", started_at=1003, seconds=1)
LAST = Round(3, 0, 1, "二", "丁", "done", started_at=1100, seconds=1)
PIECES = {
    1: (Piece(0.5, " 甲"), Piece(1.5, "乙 ")),
    2: (Piece(0.5, "丙"),),
    3: (Piece(0.75, "丁"),),
}


def played(transcript: Transcript, **options: float) -> list[tuple[float, str, str, int]]:
    steps = schedule(transcript, **options)
    return [(step.wait_seconds, step.kind, step.text, step.round.id) for step in steps]


def of(head: int, pieces: dict[int, tuple[Piece, ...]] = PIECES) -> Transcript:
    return Transcript(Conversation(0, "t", 0, 0, 2, head), (FIRST, OTHER, LAST), pieces)


def test_the_path_is_played_in_its_own_timing() -> None:
    assert played(of(2)) == [
        (0, "query", "一", 1),
        (0.5, "piece", " 甲", 1),
        (1.0, "piece", "乙 ", 1),
        (0.5, "end", "甲乙", 1),
        (1.0, "query", "二", 2),
        (0.5, "piece", "丙", 2),
        (0.5, "end", "丙", 2),
    ]


def test_a_long_pause_between_rounds_is_cut_and_speed_divides_all() -> None:
    waits = [beat[0] for beat in played(of(3), speed=2)]
    assert waits == [0, 0.25, 0.5, 0.25, 1.0, 0.375, 0.125]
    assert played(of(3), longest_pause_seconds=0.25)[4][0] == 0.25
    assert {beat[0] for beat in played(of(3), speed=math.inf)} == {0}


def test_a_reply_without_pieces_comes_whole() -> None:
    assert played(of(1, {})) == [
        (0, "query", "一", 1),
        (2, "piece", "甲乙", 1),
        (0, "end", "甲乙", 1),
    ]


def test_clocks_that_ran_backwards_do_not_wait_backwards() -> None:
    early = Round(2, 0, 1, "二", "丙", "done", started_at=900, seconds=0.1)
    pieces = {1: (Piece(1.0, "a"), Piece(0.5, "b"), Piece(3.0, "c")), 2: (Piece(0.2, "d"),)}
    transcript = Transcript(Conversation(0, "t", 0, 0, 2, 2), (FIRST, early), pieces)
    assert [beat[0] for beat in played(transcript)] == [0, 1, 0, 2, 0, 0, 0.2, 0]


def test_an_empty_transcript_plays_nothing() -> None:
    assert played(Transcript(Conversation(0, "", 0, 0), ())) == []


@pytest.mark.parametrize("speed", [0, -1, math.nan, -math.inf])
def test_a_speed_that_is_none_is_refused_at_once(speed: float) -> None:
    with pytest.raises(ChatuiError, match="above 0"):
        schedule(of(1), speed)
