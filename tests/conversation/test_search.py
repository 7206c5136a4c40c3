"""Search in Chinese and other scripts, with and without the index."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from chatui.conversation.store import Store
from chatui.errors import ChatuiError


@pytest.fixture(params=["trigram index", "no index"])
def store(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    if request.param == "no index":
        monkeypatch.setattr("chatui.conversation.search_index.has_index", lambda db: False)
    opened = Store(tmp_path / "conversations.db")
    yield opened
    opened.close()


def add(store: Store, query: str, reply: str, conversation_id: int | None = None) -> int:
    parent_id = conversation_id and store.conversation(conversation_id).head_id
    begun = store.add_round(conversation_id, parent_id, query)
    return store.finish_round(replace(begun, state="done", reply=reply)).id


def found(store: Store, text: str) -> list[tuple[int | None, str]]:
    hits = store.search(text)
    listed = {c.id for c, _ in store.search_conversations(text, 1000)}
    assert listed == {hit.conversation_id for hit in hits}
    return [(hit.round_id, hit.where) for hit in hits]


@pytest.mark.parametrize("text", ["月", "明月", "明月光", "床前明月光，\n疑是", "  明月光  "])
def test_one_or_more_hanzi_are_found(store: Store, text: str) -> None:
    first = add(store, "静夜思", "床前明月光，\n疑是地上霜。")
    add(store, "春晓", "春眠不觉晓")
    assert found(store, text) == [(first, "reply")]


@pytest.mark.parametrize(
    "text", ["bj", "BJ", "beijing", "beij", "beijingdxs", "bjdx", "daxue", "xuesheng", "sheng"]
)
def test_hanzi_are_found_by_pinyin(store: Store, text: str) -> None:
    wanted = add(store, "？", "他是北京大学生")
    add(store, "春晓", "春江水暖鸭先知")
    # Initials and syllables are not mixed.
    assert found(store, text) == ([] if text == "beijingdxs" else [(wanted, "reply")])


def test_a_common_second_reading_is_found(store: Store) -> None:
    wanted = [(add(store, "？", "去重庆银行"), "reply")]
    assert found(store, "cqyh") == found(store, "chongqingyinhang") == found(store, "cq") == wanted


def test_literal_matches_come_before_pinyin_matches(store: Store) -> None:
    sounds = add(store, "北京", "a")
    written = add(store, "q", "the BJ office")
    newest = add(store, "背景", "b")
    assert found(store, "bj") == [(written, "reply"), (newest, "query"), (sounds, "query")]
    assert found(store, "b") == [(newest, "reply"), (written, "reply")], "not by pinyin"


@pytest.mark.parametrize("text", ["發", "发", "头发", "頭發", "髮", "理髮店", "头"])
def test_traditional_and_simplified_find_each_other(store: Store, text: str) -> None:
    old, new = add(store, "頭髮理髮店", "a"), add(store, "b", "头发理发店")
    assert found(store, text) == [(new, "reply"), (old, "query")]


def test_common_characters_are_found_without_the_index(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatui.conversation.text_search._MOST_CANDIDATES", 3)
    ids = [add(store, "q", f"春眠不觉晓{number}") for number in range(5)]
    assert [id_ for id_, _ in found(store, "晓")] == ids[::-1]
    assert [id_ for id_, _ in found(store, "cm")] == ids[::-1]
    assert [hit.round_id for hit in store.search("晓", limit=2)] == ids[:2:-1]


def test_each_conversation_has_one_hit(store: Store) -> None:
    first = add(store, "明月", "a")
    c = store.round(first).conversation_id
    second = add(store, "x", "明月", c)
    other = add(store, "明月", "b")
    assert [hit.round_id for _, hit in store.search_conversations("明月", 9)] == [other, second]


def test_titles_come_before_rounds_and_new_before_old(store: Store) -> None:
    old = add(store, "写《春江花月夜》", "好")
    new = add(store, "你好", "春江花月夜")
    renamed = add(store, "x", "y")
    store.rename(store.round(renamed).conversation_id, "春江花月夜集")
    assert found(store, "春江花月") == [(None, "title"), (new, "reply"), (old, "query")]
    assert len(store.search("春江花月", limit=2)) == 2
    ids = [store.round(id_).conversation_id for id_ in (old, new, renamed)]
    assert [c.id for c, _ in store.search_conversations("春江花月", 9)] == ids[::-1]
    assert [c.id for c in store.conversations()] == ids[::-1]
    assert store.search_conversations("不存在的", 9) == store.search_conversations(" ", 9) == ()


@pytest.mark.parametrize(
    "text",
    [
        "100%",
        "a_b",
        "%",
        "_",
        "\\",
        '"',
        '"quoted"',
        "'",
        "AND OR",
        "NEAR(",
        "col:on*",
        "[bold]",
        "\ud800",
        "\x00",
        "\x10",
        "\ud800\x00\x10",
        "😀",
        "👩‍👩‍👧",
        "𠮷野家",
    ],
    ids=ascii,
)
def test_every_character_is_searched_literally(store: Store, text: str) -> None:
    add(store, "ordinary", "nothing here: 0000 d800 100 ab a-b")
    wanted = add(store, "q", f"before {text} after")
    assert found(store, text) == [(wanted, "reply")]


def test_escaped_characters_are_not_found_by_their_digits(store: Store) -> None:
    add(store, "q", "a\x00b")
    assert store.search("0000") == store.search("00") == ()


def test_case_does_not_matter(store: Store, request: pytest.FixtureRequest) -> None:
    wanted = [(add(store, "q", "LoRA und Äpfel"), "reply")]
    assert found(store, "lora") == found(store, "LO") == found(store, "UND") == wanted
    if "trigram" in request.node.name:
        assert found(store, "äpfel") == wanted


def test_blank_and_very_long_texts(store: Store) -> None:
    long = "长" * 300
    wanted = add(store, "q", long)
    assert found(store, "") == found(store, " \n") == []
    assert found(store, "长" * 1_000_000) == [(wanted, "reply")]
    assert found(store, "x" * 1_000_000) == []


def test_a_streaming_round_is_found_by_its_query(store: Store) -> None:
    begun = store.add_round(None, None, "写一首长诗")
    assert found(store, "一首长诗") == [(begun.id, "query")]


def test_the_snippet_is_one_line_around_the_match(store: Store) -> None:
    add(store, "q", "前" * 100 + "\n目标\x00目标\n" + "后" * 100)
    (hit,) = store.search("目标\x00目标")
    assert hit.match == "目标\x00目标"
    assert hit.before == "…" + "前" * 15 + " "
    assert hit.after == " " + "后" * 47 + "…"
    assert hit.snippet == hit.before + hit.match + hit.after
    add(store, "q", "只此一行")
    (hit,) = store.search("此一")
    assert (hit.before, hit.match, hit.after, hit.title) == ("只", "此一", "行", "q")


def test_a_cancelled_search_ends_soon(tmp_path: Path) -> None:
    file = tmp_path / "many.db"
    store = Store(file)
    begun = store.add_round(None, None, "问")
    row = (begun.conversation_id, begun.id, "春眠不觉晓，处处闻啼鸟。" * 40)
    with sqlite3.connect(file) as db:
        db.executemany(
            "INSERT INTO rounds (conversation_id, parent_id, depth, state, writer, model, format,"
            " sampling, started_at, query, reply) VALUES (?,?,2,'done','','','','{}',0,'q',?)",
            [row] * 2_000,
        )
    assert store.search("无有") == ()
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(ChatuiError):
        store.search_conversations("无有", 9, cancelled)
    assert store.search("问", limit=1)[0].round_id == begun.id
    store.close()
