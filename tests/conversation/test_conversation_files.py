"""Imported files of all formats, intact and damaged."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chatui.conversation import exports
from chatui.conversation.conversation_files import (
    ConversationFiles,
    ImportCounts,
    SkippedRecord,
    import_files,
)
from chatui.conversation.dialogues import Dialogue, InvalidRecord
from chatui.conversation.imports.message_tree import ImportedMessage, build_conversation
from chatui.conversation.rounds import Conversation, Piece, Round, Transcript
from chatui.conversation.store import Store
from chatui.conversation.transcript_writer import to_lines


def chatgpt(title: str = "春夜") -> dict[str, Any]:
    """A conversation whose second question has two answers, the first with reasoning."""

    def node(parent: str | None, role: str, content: Any, at: float, **metadata: Any) -> Any:
        if not isinstance(content, dict):
            content = {"content_type": "text", "parts": [content]}
        message = {"author": {"role": role}, "create_time": at, "content": content}
        return {"parent": parent, "message": message | {"metadata": metadata}}

    thoughts = {"content_type": "thoughts", "thoughts": [{"summary": "s", "content": "想一想"}]}
    picture = {"content_type": "image_asset_pointer", "asset_pointer": "file://x"}
    return {
        "title": title,
        "create_time": 1.7e9,
        "update_time": 1.7e9 + 60,
        "current_node": "b1",
        "mapping": {
            "root": {"parent": None, "message": None},
            "sys": node("root", "system", "", 0, is_visually_hidden_from_conversation=True),
            "q": node("sys", "user", "写一首诗", 1.7e9),
            "a": node("q", "assistant", "床前明月光", 1.7e9 + 2, model_slug="gpt-4o"),
            "q2": node(
                "a", "user", {"content_type": "multimodal_text", "parts": ["再来", picture]}, 1.7e9
            ),
            "t": node("q2", "assistant", thoughts, 1.7e9 + 3),
            "b1": node("t", "assistant", "疑是地上霜", 1.7e9 + 4),
            "b2": node("q2", "assistant", "举头望明月", 1.7e9 + 9),
        },
    }


OPEN_WEBUI = {
    "title": "春夜",
    "created_at": 1_700_000_000,
    "updated_at": 1_700_000_060,
    "chat": {
        "history": {
            "currentId": "a2",
            "messages": {
                "q": {"parentId": None, "role": "user", "content": "问", "timestamp": 1.7e9},
                "a1": {"parentId": "q", "role": "assistant", "content": "甲", "model": "qwen"},
                "a2": {
                    "parentId": "q",
                    "role": "assistant",
                    "content": '<details type="reasoning" done="true"><summary>T</summary>\n> 想\n'
                    "</details>\n乙",
                },
            },
        }
    },
}

LLAMA_PAGE = {
    "conv": {"name": "春夜", "lastModified": 1_700_000_060_000, "currNode": 3},
    "messages": [
        {"id": 0, "parent": -1, "type": "root", "role": "system", "content": ""},
        {"id": 1, "parent": 0, "role": "user", "content": "问", "timestamp": 1_700_000_000_000},
        {"id": 2, "parent": 1, "role": "assistant", "content": "甲", "model": "qwen"},
        {"id": 3, "parent": 1, "role": "assistant", "content": "乙", "thinking": "想"},
    ],
}

LM_STUDIO = {
    "name": "春夜",
    "createdAt": 1_700_000_000_000,
    "messages": [
        {
            "versions": [
                {
                    "type": "singleStep",
                    "role": "user",
                    "content": [{"type": "text", "text": "问"}],
                }
            ],
            "currentlySelected": 0,
        },
        {
            "currentlySelected": 1,
            "versions": [
                {
                    "type": "multiStep",
                    "role": "assistant",
                    "senderInfo": {"senderName": "qwen"},
                    "steps": [{"type": "contentBlock", "content": [{"text": "甲"}]}],
                },
                {
                    "type": "multiStep",
                    "role": "assistant",
                    "steps": [
                        {
                            "type": "contentBlock",
                            "style": {"type": "thinking"},
                            "content": [{"text": "想"}],
                        },
                        {"type": "debugInfoBlock"},
                        {"type": "contentBlock", "content": [{"text": "乙"}]},
                    ],
                },
            ],
        },
    ],
}


def found_in(file: Path, content: Any = None) -> list[Any]:
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        file.write_text(text, encoding="utf-8")
    return [found for _, found in ConversationFiles([file]).read()]


def told(tree: Transcript) -> list[tuple[int | None, str, str]]:
    return [(each.parent_id, each.query, each.reply) for each in tree.rounds]


def test_chatgpt_branches_are_kept(tmp_path: Path) -> None:
    (found,) = found_in(tmp_path / "conversations.json", [chatgpt()])
    assert told(found) == [
        (None, "写一首诗", "床前明月光"),
        (1, "再来\n[image]", "<think>\n想一想\n</think>\n\n疑是地上霜"),
        (1, "再来\n[image]", "举头望明月"),
    ]
    assert (found.rounds[0].model, found.rounds[0].seconds) == ("gpt-4o", 2.0)
    about = found.conversation
    assert (about.title, about.created_at, about.updated_at) == ("春夜", 1.7e9, 1.7e9 + 60)
    assert (about.head_id, len(found.path())) == (2, 2)


@pytest.mark.parametrize("record", [OPEN_WEBUI, LLAMA_PAGE, LM_STUDIO])
@pytest.mark.parametrize("is_array", [True, False])
def test_versions_of_other_programs_are_kept(
    record: dict[str, Any], is_array: bool, tmp_path: Path
) -> None:
    (found,) = found_in(tmp_path / "x.json", [record] if is_array else record)
    assert told(found) == [
        (None, "问", "甲"),
        (None, "问", "<think>\n想\n</think>\n\n乙"),
    ]
    assert found.rounds[0].model == "qwen"
    assert (found.conversation.title, found.conversation.head_id) == ("春夜", 2)


def oterm(file: Path) -> None:
    db = sqlite3.connect(file)
    db.executescript(
        "CREATE TABLE chat (id INTEGER PRIMARY KEY, name TEXT, model TEXT NOT NULL);"
        "CREATE TABLE message (id INTEGER PRIMARY KEY, chat_id, author TEXT, text TEXT);"
        "INSERT INTO chat VALUES (1, '春夜', 'qwen'), (2, 'empty', 'qwen');"
        "INSERT INTO message VALUES (1, 1, 'user', '问'), (2, 1, 'assistant', '甲'),"
        " (3, 1, 'me', '再问'), (4, 1, 'ollama', '乙'), (5, 1, 'somebody', 'x');"
    )
    db.commit()
    db.close()


def test_oterm_databases(tmp_path: Path) -> None:
    oterm(tmp_path / "store.db")
    before = (tmp_path / "store.db").read_bytes()
    found, unread, empty = found_in(tmp_path / "store.db")
    assert told(found) == [(None, "问", "甲"), (1, "再问", "乙")]
    assert "1 message" in unread.sentence and "conversation 2" in empty.sentence
    assert (tmp_path / "store.db").read_bytes() == before
    (tmp_path / "torn.db").write_bytes(before[:100])
    (torn,) = found_in(tmp_path / "torn.db")
    assert "oterm" in torn.sentence


@pytest.mark.parametrize(
    "text",
    [
        "# 春夜\n\n**User:** 你好\n\n**Assistant (qwen):** 你好！\nAnswer: 42\n\n**User:** 再见\n\n"
        "**Assistant:**\n慢走。\n```\nUser: code\n```\n",
        "春夜\n\n## User\n\n你好\n\n## Assistant (qwen)\n\n你好！\nAnswer: 42\n\n## User\n再见\n"
        "## Assistant\n慢走。\n```\nUser: code\n```",
        "User: 你好\r\nAI (qwen)： 你好！\r\nAnswer: 42\r\nUser: 再见\r\nAI: 慢走。\r\n"
        "```\r\nUser: code\r\n```",
        "问：你好\n答 (qwen)：你好！\nAnswer: 42\n问：再见\n答：慢走。\n```\nUser: code\n```",
    ],
)
def test_lines_that_name_the_speaker(text: str, tmp_path: Path) -> None:
    (found,) = found_in(tmp_path / "x.md", text)
    assert told(found) == [
        (None, "你好", "你好！\nAnswer: 42"),
        (1, "再见", "慢走。\n```\nUser: code\n```"),
    ]
    assert found.rounds[0].model == "qwen"


def test_text_exported_by_chatui_is_read(tmp_path: Path) -> None:
    rounds = (
        Round(1, 1, None, "写《静夜思》\n五言", "床前明月光，\n疑是地上霜。", "done", "诗友"),
        Round(2, 1, 1, "代码？", "看：\n\n```\n# a\n问：b\n```\n\n完", "done"),
    )
    whole = Transcript(Conversation(1, "静夜思", 0, 0, 2, 2), rounds)
    for name, write in (("x.md", exports.to_markdown), ("x.txt", exports.to_text)):
        (found,) = found_in(tmp_path / name, write(whole))
        assert [(each.query, each.reply) for each in found.rounds] == [
            (each.query, each.reply) for each in rounds
        ]
        assert (found.conversation.title, found.rounds[0].model) == ("静夜思", "诗友")


def test_text_without_speakers_and_archives_are_reported(tmp_path: Path) -> None:
    (text,) = found_in(tmp_path / "x.md", "Only text.")
    assert "names a speaker" in text.sentence
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 and so on")
    (archive,) = found_in(tmp_path / "x.zip")
    assert "extract it" in archive.sentence


def test_flat_records_and_transcripts(tmp_path: Path) -> None:
    lines = '{"instruction": "译", "output": "x"}\n[["a", "b"]]\n{"messages": 5}\n'
    alpaca, history, wrong = found_in(tmp_path / "x.jsonl", lines)
    assert isinstance(alpaca, Dialogue) and isinstance(history, Dialogue)
    assert isinstance(wrong, SkippedRecord) and "line 3" in wrong.sentence
    one = Round(1, 0, None, "q", "r", "done")
    whole = Transcript(Conversation(0, "t", 1, 2, 1, 1), (one,), {1: ()})
    assert found_in(tmp_path / "t.json", "".join(to_lines(whole))) == [whole]
    windows = "".join(to_lines(whole)).replace("\n", "\r\n")
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "w.jsonl").write_bytes(windows.encode(encoding))
        assert found_in(tmp_path / "w.jsonl") == [whole]


def test_damaged_records_are_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    broken = chatgpt("broken")
    broken["mapping"]["b2"]["message"]["content"] = {"content_type": "code", "text": 1, "x": []}
    broken["mapping"]["b1"]["message"]["author"] = "nobody"
    broken["mapping"]["a"] = 5
    none = chatgpt("none") | {"mapping": []}
    file = tmp_path / "conversations.json"
    one_line = json.dumps([chatgpt("good"), broken, none, 7, chatgpt("last")])
    found = found_in(file, one_line)
    assert [each.conversation.title for each in found if isinstance(each, Transcript)] == [
        "good",
        "broken",
        "last",
    ]
    sentences = [each.sentence for each in found if isinstance(each, SkippedRecord)]
    assert all(str(file) in sentence for sentence in sentences)
    assert ["line 1, item 2: 2 messages" in sentences[0], "item 3" in sentences[1]] == [True] * 2
    assert "item 4" in sentences[2] and len(sentences) == 3


@pytest.mark.parametrize("start", ["\ufeff", "\r\n \r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_windows_byte_order_marks_and_line_ends(start: str, encoding: str, tmp_path: Path) -> None:
    text = start.replace("\ufeff", "" if encoding == "utf-16" else "\ufeff")
    text += json.dumps([chatgpt(), chatgpt()], indent=1).replace("\n", "\r\n")
    (tmp_path / "x.json").write_bytes(text.encode(encoding))
    assert [type(each) for each in found_in(tmp_path / "x.json")] == [Transcript] * 2


def test_messages_in_a_cycle_are_skipped() -> None:
    circle = [ImportedMessage("x", "y", "user", "?"), ImportedMessage("y", "x", "assistant", "!")]
    talk = [ImportedMessage("1", None, "user", "问"), ImportedMessage("2", "1", "assistant", "答")]
    tree = build_conversation([*circle, *talk, ImportedMessage("3", "3", "user", "self")])
    assert (told(tree), tree.unread_messages) == ([(None, "问", "答")], 3)
    with pytest.raises(InvalidRecord):
        build_conversation(circle)
    # Also if one of them is the current message.
    again = build_conversation([*circle, *talk], current="x")
    assert again.conversation.head_id == 1 and again.unread_messages == 2


def test_unanswered_and_unasked_messages_are_kept() -> None:
    spoken = [
        ImportedMessage("1", None, "assistant", "你好，我先说。"),
        ImportedMessage("2", "1", "user", "一"),
        ImportedMessage("3", "2", "user", "二"),
    ]
    tree = build_conversation(spoken)
    assert told(tree) == [(None, "", "你好，我先说。"), (1, "一\n二", "")]
    assert tree.rounds[1].state == "stopped"


def test_a_conversation_of_20_000_rounds() -> None:
    chain = [
        ImportedMessage(str(at), str(at - 1), "assistant" if at % 2 else "user", "x")
        for at in range(40_000)
    ]
    tree = build_conversation(chain, current="39999")
    assert len(tree.path()) == 20_000
    assert len(tree.path()) == 20_000


def imported(store: Store, *files: Path) -> tuple[ImportCounts, list[str]]:
    sentences: list[str] = []
    counts = import_files(
        store, files, on_progress=lambda counts: None, on_skipped=sentences.append
    )
    return counts, sentences


def test_an_import_is_listed_searchable_and_not_repeated(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    chats, rows = tmp_path / "conversations.json", tmp_path / "rows.jsonl"
    chats.write_text(json.dumps([chatgpt(), chatgpt("") | {"title": None}]))
    rows.write_text('{"instruction": "译春天", "output": "spring"}\nno\n')
    counts, sentences = imported(store, chats, rows)
    assert (counts.conversations, counts.rounds, counts.skipped) == (3, 7, 1)
    assert counts.done_bytes == counts.total_bytes > 0
    assert "line 2" in sentences[0]
    listed = store.conversations()
    assert {each.title for each in listed} == {"春夜", "写一首诗", "译春天"}
    (first,) = [each for each in listed if each.title == "春夜"]
    head = store.rounds(first.id)[-1]
    assert (head.reply.endswith("疑是地上霜"), head.versions) == (True, 2)
    assert {hit.where for hit in store.search("举头望")} == {"reply"}
    assert len(store.search("霜")) == 2
    again, _ = imported(store, chats, rows)
    assert (again.conversations, again.known) == (0, 3)
    store.close()


def test_a_stored_conversation_and_its_transcript_are_equal(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    begun = store.add_round(None, None, "问\ud800", sampling={"top_k": 3}, seed=2**64 - 1)
    store.finish_round(
        replace(begun, state="done", reply="答", seconds=0.5), [Piece(0.1, "答", 3, -0.5)]
    )
    whole = store.transcript(begun.conversation_id)
    (copy,) = store.add_conversations([whole])
    back = "".join(to_lines(store.transcript(copy)))
    assert back == "".join(to_lines(whole))
    store.close()
