"""Pinned, archived, tagged, deleted and restored conversations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chatui.conversation.conversation_store import parse_tags
from chatui.conversation.store import Store
from chatui.conversation.transcript_reader import read_transcript
from chatui.conversation.transcript_writer import to_lines
from chatui.errors import ChatuiError

DAY = 24 * 3600


class Clock:
    """Seconds since the epoch that a test sets."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock):
    opened = Store(tmp_path / "conversations.db", clock=clock)
    yield opened
    opened.close()


def add(store: Store, query: str) -> int:
    begun = store.add_round(None, None, query)
    store.finish_round(replace(begun, state="done", reply="明月"))
    return begun.conversation_id


def test_pinned_and_archived_conversations(store: Store, clock: Clock) -> None:
    ids = []
    for query in ("一", "二", "三"):
        clock.now += 1
        ids.append(add(store, query))
    assert store.organise(ids[0], pinned=True).pinned
    assert store.organise(ids[1], archived=True).archived

    def listed(**which: bool) -> list[int]:
        return [each.id for each in store.conversations(**which)]

    assert listed(pinned_first=True, archived=False) == [ids[0], ids[2]]
    assert listed(archived=True) == [ids[1]]
    assert listed() == ids[::-1]
    store.organise(ids[2], archived=True)
    last = store.last_conversation()
    assert last is not None and last.id == ids[0]
    assert {hit.conversation_id for hit in store.search("明月")} == set(ids)
    assert not store.organise(ids[0], pinned=False).pinned


def test_every_change_of_the_list_changes_its_fingerprint(store: Store) -> None:
    one, other = add(store, "一"), add(store, "二")
    store.organise(one, pinned=True, tags=["诗"])
    seen = [store.list_fingerprint()]
    for change in (
        lambda: store.organise(one, pinned=False),
        lambda: store.organise(other, pinned=True),
        lambda: store.organise(one, tags=["词"]),
        lambda: store.rename(one, "三"),
        lambda: store.delete(one),
        lambda: store.restore(one),
        lambda: store.organise(one, archived=True),
    ):
        change()
        assert store.list_fingerprint() != seen[-1]
        seen.append(store.list_fingerprint())
    assert store.list_fingerprint() == seen[-1]


def test_tags_are_words(store: Store) -> None:
    one, other = add(store, "一"), add(store, "二")
    assert store.organise(one, tags=["#诗", "工作", "诗"]).tags == ("诗", "工作")
    store.organise(other, tags=["工作坊"])
    assert [each.id for each in store.conversations(tag="工作")] == [one]
    assert [each.id for each, _ in store.search_conversations("明月", 10, tag="工作")] == [one]
    assert store.tags() == tuple(sorted(("诗", "工作", "工作坊")))
    assert store.organise(one, pinned=True).tags == ("诗", "工作"), "the tags stay"
    assert store.organise(one, tags=[]).tags == ()
    assert store.conversations(tag="工作") == store.conversations(tag="%") == ()
    assert parse_tags("") == ()
    for wrong in ("#", "长" * 41):
        with pytest.raises(ChatuiError, match="#"):
            store.organise(one, tags=[wrong])


def test_a_deletion_can_be_undone_for_a_day(store: Store, clock: Clock) -> None:
    kept, gone = add(store, "留下"), add(store, "不要")
    store.delete(gone)
    assert [each.id for each in store.conversations()] == [kept]
    assert {hit.conversation_id for hit in store.search("明月")} == {kept}
    assert [each.id for each, _ in store.search_conversations("明月", 10)] == [kept]
    for ask in (store.conversation, store.rounds, store.transcript, store.delete):
        with pytest.raises(ChatuiError):
            ask(gone)
    with pytest.raises(ChatuiError):
        store.add_round(gone, None, "?")
    store.recover_rounds()
    assert [each.id for each in store.deleted()] == [gone]
    assert store.restore(gone).title == "不要"
    assert len(store.search("明月")) == 2 and not store.deleted()
    store.delete(gone)
    clock.now -= 30 * DAY
    store.recover_rounds()
    assert store.deleted(), "a clock that was set back deletes nothing"
    clock.now += 31 * DAY + 1
    store.recover_rounds()
    assert not store.deleted()
    with pytest.raises(ChatuiError):
        store.restore(gone)


def test_a_transcript_keeps_pins_archive_and_tags(store: Store) -> None:
    id_ = add(store, "一")
    store.organise(id_, pinned=True, archived=True, tags=["诗"])
    whole = read_transcript("".join(to_lines(store.transcript(id_))).encode(), name="t")
    (new,) = store.add_conversations([whole])
    read = store.conversation(new)
    assert (read.pinned, read.archived, read.tags) == (True, True, ("诗",))
