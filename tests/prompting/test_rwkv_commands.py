"""ChatRWKV's chats and commands."""

from __future__ import annotations

import pytest

from chatui.prompting import formats
from chatui.prompting.formats.rwkv import command_of, is_reset

RAVEN = formats.get("chatrwkv")
OPENING = RAVEN.render([], "戊", None).removesuffix("Bob: 戊\n\nAlice:")
INSTRUCTION = (
    "\nBelow is an instruction that describes a task. Write a response that appropriately "
    "completes the request.\n\n# Instruction:\n写诗\n\n# Response:\n"
)


def test_preambles_end_with_a_blank_line() -> None:
    assert OPENING.startswith("\nThe following is a coherent verbose detailed conversation")
    assert OPENING.endswith("而不是飞行。\n\n")


@pytest.mark.parametrize(
    ("history", "query", "prompt"),
    [
        ([("甲", "乙")], " 戊\n", f"{OPENING}Bob: 甲\n\nAlice: 乙\n\nBob: 戊\n\nAlice:"),
        ([], "一\\n二", f"{OPENING}Bob: 一\n二\n\nAlice:"),
        ([("甲", "乙")], "+gen 从前", "\n从前"),
        ([("甲", "乙")], "+i 写诗", INSTRUCTION),
        ([("甲", "乙")], "+I 写诗", INSTRUCTION),
        ([("甲", "乙")], "+qa 问", f"{OPENING}Bob: 问\n\nAlice:"),
        ([("甲", "乙")], "+qq 问", "\nQ: 问\nA:"),
        ([("甲", "乙")], "+", f"{OPENING}Bob: 甲\n\nAlice:"),
        ([("甲", "乙"), ("+", "丙")], "戊", f"{OPENING}Bob: 甲\n\nAlice: 丙\n\nBob: 戊\n\nAlice:"),
        (
            [("甲", "乙"), ("+gen 从", "前")],
            "戊",
            f"{OPENING}Bob: 甲\n\nAlice: 乙\n\nBob: 戊\n\nAlice:",
        ),
        ([("+gen 从", "前"), ("甲", "乙")], "+++", "\n从前"),
        ([("+gen 从", "前"), ("+++", "有")], "+++", "\n从前有"),
        ([("+gen 从", "前"), ("+++", "有")], "++", "\n从前"),
        ([("+gen 从", "前")], "++", "\n从"),
        ([("甲", "乙"), ("+reset", "")], "戊", f"{OPENING}Bob: 戊\n\nAlice:"),
        ([], "+", f"{OPENING}Bob: +\n\nAlice:"),
        ([], "+++", f"{OPENING}Bob: +++\n\nAlice:"),
        ([], "+gen", f"{OPENING}Bob: +gen\n\nAlice:"),
        ([], "+1 等于几", f"{OPENING}Bob: +1 等于几\n\nAlice:"),
    ],
)
def test_raven(history: list[tuple[str, str]], query: str, prompt: str) -> None:
    assert RAVEN.render(history, query, None) == prompt


def test_world() -> None:
    world = formats.get("chatrwkv:world")
    prompt = world.render([("甲", "乙")], "戊\r\n\n\n己 ", None)
    assert prompt.startswith("User: hi\n\nAssistant: Hi. I am your assistant and I will provide ")
    assert prompt.endswith("answer it.\n\nUser: 甲\n\nAssistant: 乙\n\nUser: 戊\n己\n\nAssistant:")


def test_a_system_prompt_replaces_the_preamble() -> None:
    assert RAVEN.render([], "戊", " 你是诗人 \n\n") == "\n你是诗人\n\nBob: 戊\n\nAlice:"
    assert RAVEN.render([], "戊", "") == "Bob: 戊\n\nAlice:"


def test_free_text_has_no_stop_strings() -> None:
    assert RAVEN.stops_for("你好") == RAVEN.stop_strings == ("\n\n", "\nBob:")
    assert RAVEN.stops_for("+qa 问") == RAVEN.stop_strings
    for query in ("+gen 从前", "+i 写诗", "+++", "++"):
        assert RAVEN.stops_for(query) == ()


def test_commands() -> None:
    assert command_of("+GEN a b") == ("+gen", "a b")
    assert command_of("a +gen b") == ("", "a +gen b")
    assert is_reset(" +reset ")
    assert not is_reset("+reset me")


def test_a_raven_message_keeps_no_blank_line() -> None:
    assert RAVEN.render([], "一\r\n\r\n二\n\n三", "") == "Bob: 一\n二\n三\n\nAlice:"


def test_reset_is_answered_without_the_model() -> None:
    assert RAVEN.fixed_answer is not None
    assert RAVEN.fixed_answer(" +reset ") == "The chat was reset."
    assert RAVEN.fixed_answer("你好") is None


def test_free_text_is_not_cleaned() -> None:
    assert RAVEN.clean("+gen 从前", " 有\n") == " 有\n"
    assert RAVEN.clean("你好", " 好\n") == "好"
    assert RAVEN.free_text_tokens == 256
