"""Records in all supported formats, and errors in others."""

from __future__ import annotations

import pytest

from chatui.conversation.dialogue_sources import DialogueSources
from chatui.conversation.dialogues import (
    Dialogue,
    InvalidRecord,
    dialogue_from_rounds,
    parse_record,
)
from chatui.conversation.rounds import Round
from chatui.conversation.store import Store

TWO = (("你好", "你好！"), ("再见", "慢走。"))


@pytest.mark.parametrize(
    "record",
    [
        [list(pair) for pair in TWO],
        {"history": [list(pair) for pair in TWO]},
        {
            "conversations": [
                {"from": "gpt", "value": "I greet first."},
                {"from": "human", "value": "你好"},
                {"from": "gpt", "value": "你好！"},
                {"from": "human", "value": "再见"},
                {"from": "gpt", "value": "慢走。"},
                {"from": "human", "value": "unanswered"},
            ]
        },
        {
            "messages": [
                {"role": "user", "content": "你好"},
                {"role": "assistant", "content": "你好！"},
                {"role": "user", "content": [{"type": "text", "text": "再见"}]},
                {"role": "assistant", "content": "慢走。"},
            ]
        },
        [
            {"role": "user", "content": "你好"},
            {"role": "assistant", "content": "你好！"},
            {"role": "user", "content": "再见"},
            {"role": "assistant", "content": "慢走。"},
        ],
    ],
)
def test_all_replies_of_a_conversation_are_trained_on(record: object) -> None:
    found = parse_record(record)
    assert found == Dialogue(TWO)
    assert (
        found.trained_replies(None),
        found.trained_replies("all"),
        found.trained_replies("last"),
    ) == (
        [0, 1],
        [0, 1],
        [1],
    )


@pytest.mark.parametrize(
    ("row", "query"),
    [
        ({"instruction": "译", "input": "春", "output": "spring"}, "译\n春"),
        ({"instruction": "译", "input": "", "output": "spring"}, "译"),
        ({"instruction": "译", "input": None, "output": "spring"}, "译"),
        ({"instruction": "译", "output": "spring"}, "译"),
        ({"instruct": "译", "query": "春", "answer": "spring"}, "译\n春"),
        ({"prompt": "译", "response": "spring"}, "译"),
        ({"content": "译", "summary": "spring"}, "译"),
        ({"input": "译", "label": "spring"}, "译"),
        ({"instruction": "", "input": "春", "output": "spring"}, "\n春"),
    ],
)
def test_the_reply_of_a_row_is_trained_on(row: dict[str, object], query: str) -> None:
    found = parse_record(row)
    assert found.rounds == ((query, "spring"),)
    assert not found.has_history
    assert found.trained_replies(None) == [0]


def test_the_history_of_a_row_is_not_trained_on() -> None:
    row = {"prompt": "再见", "response": "慢走。", "history": [["你好", "你好！"]], "system": "短"}
    found = parse_record(row)
    assert found == Dialogue(TWO, "短", last_only=True, has_history=True)
    assert (
        found.trained_replies(None),
        found.trained_replies("last"),
        found.trained_replies("all"),
    ) == ([1], [1], [0, 1])
    assert parse_record({"prompt": "a", "response": "b", "history": []}).has_history


def test_consecutive_messages_of_a_speaker_are_joined() -> None:
    said = [("system", "甲"), ("system", "乙"), ("user", "一"), ("user", "二")]
    said += [("assistant", "三"), ("assistant", "四")]
    found = parse_record({"messages": [{"role": role, "content": text} for role, text in said]})
    assert found == Dialogue((("一\n二", "三\n四"),), "甲\n乙")


@pytest.mark.parametrize(
    "record",
    [
        None,
        3,
        "text",
        [],
        {},
        {"text": "no dialogue"},
        {"instruction": 5, "output": "x"},
        {"instruction": "x", "output": None},
        {"instruction": "x", "input": ["y"], "output": "z"},
        {"prompt": "x", "response": "y", "history": "z"},
        {"prompt": "x", "response": "y", "history": [["z"]]},
        {"prompt": "x", "response": "y", "history": [["z", 1]]},
        {"conversations": []},
        {"conversations": ["text"]},
        {"conversations": [{"from": "human", "value": "alone"}]},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": None}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        [["a", "b"], ["c"]],
    ],
)
def test_other_records_are_invalid(record: object) -> None:
    with pytest.raises(InvalidRecord, match=r"\w"):
        parse_record(record)


def test_incomplete_replies_are_only_context() -> None:
    ends = [("done", "eos"), ("stopped", "cancelled"), ("done", "length"), ("failed", None)]
    rounds = [
        Round(n, 1, n - 1 or None, f"q{n}", reply=f"r{n}", state=state, finish_reason=reason)
        for n, (state, reason) in enumerate([*ends, ("done", "stop")], 1)
    ]
    rounds.insert(1, Round(9, 1, 1, "q9", reply=" ", state="done"))
    found = dialogue_from_rounds(rounds)
    assert [query for query, _ in found.rounds] == ["q1", "q2", "q3", "q4", "q5"]
    assert found.trained_replies(None) == found.trained_replies("all") == [0, 4]
    assert found.trained_replies("last") == [4]


def test_new_tags_change_the_fingerprint_of_sources() -> None:
    store = Store(None)
    id = store.add_round(None, None, "问").conversation_id
    sources = DialogueSources([], None, store, [id])
    before = sources.fingerprint()
    store.organise(id, tags=["诗"])
    assert sources.fingerprint() != before
    store.close()
