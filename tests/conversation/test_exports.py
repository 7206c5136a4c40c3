"""Conversations to read, as Markdown and plain text."""

from __future__ import annotations

from chatui import locales
from chatui.conversation.exports import to_markdown, to_text
from chatui.conversation.rounds import Conversation, Round

ABOUT = Conversation(1, "静夜思", 0, 0, 2, 2)
ROUNDS = (
    Round(1, 1, None, "写《静夜思》\n五言", "床前明月光，\n疑是地上霜。", "done", "诗友"),
    Round(2, 1, 1, "代码？", "看：\n```\na\nb\n```\n好\n\n完", "stopped"),
    Round(3, 1, 2, "x", "\x1b[31m\ud800\x9b", "failed", error="No {memory}."),
)


def test_markdown_keeps_the_lines_of_a_poem_and_of_code() -> None:
    locales.set_language("zh")
    assert to_markdown(ABOUT, ROUNDS[:2]) == (
        "# 静夜思\n\n## 第 1 轮\n\n**问**\n\n> 写《静夜思》  \n> 五言\n\n**答** (诗友)\n\n"
        "床前明月光，  \n疑是地上霜。\n\n"
        "## 第 2 轮\n\n**问**\n\n> 代码？\n\n**答**\n\n看：  \n```\na\nb\n```\n好\n\n完\n\n"
        "*已停止*\n"
    )


def test_plain_text() -> None:
    assert to_text(ABOUT, ROUNDS[:1]) == (
        "静夜思\n\n[Round 1]\n\nQuestion: 写《静夜思》\n五言\n\n"
        "Reply (诗友): 床前明月光，\n疑是地上霜。\n"
    )


def test_nothing_in_an_export_is_obeyed_by_a_terminal() -> None:
    for text in (to_markdown(ABOUT, ROUNDS), to_text(ABOUT, ROUNDS)):
        assert "␛[31m��" in text
        assert "ended with an error: No {memory}." in text
        text.encode()
        assert not any((ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 for c in text)


def test_a_fence_that_a_stopped_reply_left_open_is_closed() -> None:
    stopped = Round(1, 1, None, "q", "````py\nx = 1\n```", "stopped")
    assert "````py\nx = 1\n```\n````\n" in to_markdown(ABOUT, [stopped])
