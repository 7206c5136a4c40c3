"""The branch made by continuing from a point of a replay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chatui.conversation.continued_reply import resume
from chatui.conversation.playback import Player
from chatui.conversation.rounds import Conversation, Piece, Round, Transcript
from chatui.conversation.store import Store
from chatui.conversation.transcript_reader import read_transcript
from chatui.conversation.transcript_writer import to_lines

ROUNDS = (
    Round(
        1,
        0,
        None,
        "写诗",
        "床前明月光",
        "done",
        "诗友",
        "shiyou",
        "eos",
        7,
        started_at=1000,
        seconds=5,
    ),
    Round(2, 0, 1, "再来", "好", "done", "诗友", started_at=1010, seconds=1),
)
PIECES = {1: tuple(Piece(at, text, 10 + at, -0.5) for at, text in enumerate("床前明月光"))}
WHOLE = Transcript(Conversation(0, "诗", 1000, 1011, 2, 2), ROUNDS, PIECES)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store(None)
    yield opened
    opened.close()


def after(steps: int, whole: Transcript = WHOLE) -> Player:
    player = Player(whole)
    player.step(steps - player.steps_done)
    return player


def path(store: Store, id: int) -> list[tuple[str, str, str]]:
    return [(each.query, each.reply, each.state) for each in store.rounds(id)]


def test_within_a_reply_a_stopped_version_is_added(store: Store) -> None:
    point = after(3).point
    assert point is not None and point.pieces == 2
    id = resume(store, WHOLE, point)
    assert path(store, id) == [("写诗", "床前", "stopped")]
    (cut,) = store.rounds(id)
    assert (cut.model, cut.seed, cut.output_tokens, cut.versions) == ("诗友", 7, 2, 2)
    assert store.pieces(cut.id) == PIECES[1][:2]
    # The recorded version is unchanged.
    assert [each.reply for each in store.siblings(cut.id)] == ["床前明月光", "床前"]
    assert len(store.all_rounds(id)) == 3


def test_after_a_reply_the_recorded_path_is_continued(store: Store) -> None:
    point = after(7).point
    assert point is not None and point.pieces is None
    id = resume(store, WHOLE, point)
    assert path(store, id) == [("写诗", "床前明月光", "done")]
    # The same recording does not add a second conversation.
    assert resume(store, WHOLE, point) == id and len(store.conversations()) == 1


def test_a_stored_conversation_gets_the_branch(store: Store) -> None:
    (id,) = store.add_conversations([WHOLE])
    again = read_transcript("".join(to_lines(store.transcript(id))).encode(), name="x")
    query, whole_reply = after(8, again).point, after(9, again).point
    assert query is not None and whole_reply is not None
    assert resume(store, again, query) == id
    assert path(store, id)[1:] == [("再来", "", "stopped")]
    # A reply without pieces is replayed as a whole.
    resume(store, again, whole_reply)
    assert path(store, id)[1:] == [("再来", "好", "stopped")]
