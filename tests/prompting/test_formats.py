"""Prompts of all formats, character by character."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatui.prompting import formats

ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
VICUNA = (
    "The following is a conversation between an AI assistant called Assistant and a human user "
    "called User. The assistant is intelligent, knowledgeable and polite to answer questions of "
    "user."
)
ZOO = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
NONE: list[tuple[str, str]] = []
TWO = [("甲？", "乙。"), ("丙？", "丁。")]

PROMPTS = [
    ("shiyou", NONE, "戊", "[Round 0]\n问：戊\n答："),
    (
        "shiyou",
        TWO,
        "戊",
        "[Round 0]\n问：甲？\n答：乙。\n[Round 1]\n问：丙？\n答：丁。\n[Round 2]\n问：戊\n答：",
    ),
    ("gpt2-chinese", NONE, "床前", "床前"),
    ("gpt2-chinese", [("床前", "明月光，")], "疑是", "床前明月光，疑是"),
    ("chatglm-6b", NONE, "戊\n己 ", "戊\n己 "),
    ("chatglm-6b", [("甲", "")], "戊", "[Round 0]\n问：甲\n答：\n[Round 1]\n问：戊\n答："),
    ("chatglm2-6b", NONE, "戊", "[Round 1]\n\n问：戊\n\n答："),
    (
        "chatglm2-6b",
        [("甲", "乙")],
        "戊",
        "[Round 1]\n\n问：甲\n\n答：乙\n\n[Round 2]\n\n问：戊\n\n答：",
    ),
    ("chatglm3-6b", NONE, "戊", "<|user|>\n 戊<|assistant|>"),
    (
        "chatglm3-6b",
        [("甲", "乙")],
        "戊",
        "<|user|>\n 甲<|assistant|>\n 乙<|user|>\n 戊<|assistant|>",
    ),
    ("alpaca:article", NONE, "戊", f"{ALPACA}\n\n### Instruction:\n戊\n\n### Response: "),
    (
        "alpaca:article",
        [("甲", "乙")],
        "译\nhi",
        f"{ALPACA}\n\n### Instruction:\n甲\n\n### Response: 乙\n\n"
        "### Instruction:\n译\nhi\n\n### Response: ",
    ),
    ("luotuo", NONE, "戊", f"{ALPACA}\n\n### Instruction:\n戊\n\n### Response:\n"),
    ("alpaca-cot", NONE, "戊", f"{ALPACA}\n\n### Instruction:\n戊\n\n### Response:"),
    (
        "chinese-alpaca:single-turn",
        NONE,
        "戊",
        f"{ALPACA}\n\n### Instruction:\n\n戊\n\n### Response:\n\n",
    ),
    ("chinese-alpaca", NONE, "戊", f"\n{ALPACA}\n### Instruction:\n戊\n\n### Response: \n "),
    (
        "chinese-alpaca",
        [("甲", "乙"), ("丙", "")],
        "戊",
        f"\n{ALPACA}\n### Instruction:\n甲\n\n### Response: 乙\n\n"
        "### Instruction:\n丙\n\n### Response: ### Instruction:\n戊\n\n### Response: \n ",
    ),
    ("chinese-vicuna:chat", NONE, "戊", f"{VICUNA}\n\nUser:戊\n\nAssistant:"),
    (
        "chinese-vicuna:chat",
        [("甲", "乙")],
        "戊",
        f"{VICUNA}\n\nUser:甲\n\nAssistant:乙\n\nUser:戊\n\nAssistant:",
    ),
    (
        "chinese-vicuna:instruct",
        NONE,
        "戊",
        f"{ALPACA}\n\n### Instruction:\n\nUser:戊\nAssistant:\n\n### Response:",
    ),
    (
        "chinese-vicuna:instruct",
        TWO,
        "戊",
        f"{ALPACA}\n\n### Instruction:\nUser:甲？\nAssistant:乙。\nUser:丙？\nAssistant:丁。\n"
        "User:戊\nAssistant:\n\n### Response:",
    ),
    ("llmzoo", NONE, "戊", f"{ZOO}\n\nHuman: <s>戊</s>Assistant: <s>"),
    (
        "llmzoo",
        [("甲", "乙"), ("丙", "")],
        "戊",
        f"{ZOO}\n\nHuman: <s>甲</s>Assistant: <s>乙</s>Human: <s>丙</s>Assistant: <s>"
        "Human: <s>戊</s>Assistant: <s>",
    ),
    ("camelbell", NONE, "译\nInput: hi", "Instruction: 译\nInput: hi\nAnswer: "),
    ("camelbell", [("甲", "乙")], "戊", "Instruction: 甲\nAnswer: 乙\nInstruction: 戊\nAnswer: "),
    ("belle", NONE, " 戊 \n", "Human: 戊\n\nAssistant:"),
    ("belle", [("甲", "乙")], "戊", "Human: 甲\n\nAssistant: 乙\n\nHuman: 戊\n\nAssistant:"),
    ("belle-llama", NONE, "戊", "Human: \n戊\n\nAssistant: \n"),
    (
        "belle-llama",
        [("甲", "乙")],
        "戊",
        "Human: \n甲\n\nAssistant: \n乙\n\nHuman: \n戊\n\nAssistant: \n",
    ),
    ("linly", NONE, "戊", "User: 戊\nBot: "),
    ("chatllama", TWO, "戊", "User: 甲？\nBot: 乙。\nUser: 丙？\nBot: 丁。\nUser: 戊\nBot: "),
    ("bloomz", NONE, "戊 ", "戊 "),
    ("bloomz", [("甲", "乙")], "戊", "甲\n乙\n戊"),
]


def test_prompts() -> None:
    for name, history, query, prompt in PROMPTS:
        assert formats.get(name).render(history, query, None) == prompt, name


def test_the_reference_prompts(reference: Path) -> None:
    cases = (reference / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    for case in map(json.loads, cases):
        rounds = [(asked, answered) for asked, answered in case["history"]]
        found = formats.get(case["system"])
        assert found.render(rounds, case["query"], None) == case["prompt"], case["system"]


def test_moss() -> None:
    moss = formats.get("moss")
    prompt = moss.render([("甲", "乙")], "戊", None)
    opening, _, rounds = prompt.partition("Capabilities and tools that MOSS can possess.\n")
    assert opening.startswith("You are an AI assistant whose name is MOSS.\n- MOSS is a ")
    assert rounds == "<|Human|>: 甲<eoh>\n<|MOSS|>: 乙<eom>\n<|Human|>: 戊<eoh>\n<|MOSS|>:"
    assert moss.render([], "戊", "简短") == "简短\n<|Human|>: 戊<eoh>\n<|MOSS|>:"


def test_moss_with_plugins() -> None:
    plugin = formats.get("moss:plugin")
    prompt = plugin.render([("甲", "乙")], "戊", None)
    assert "- Web search: disabled.\n" in prompt
    assert prompt.endswith(
        "<|Human|>: 甲<eoh>\n<|Inner Thoughts|>: None<eot>\n<|Commands|>: None<eoc>\n"
        "<|Results|>: None<eor>\n<|MOSS|>: 乙<eom>\n<|Human|>: 戊<eoh>\n"
    )
    written = "<|Inner Thoughts|>: 想\n<|Commands|>: None\n<|Results|>: None\n<|MOSS|>: 乙"
    assert plugin.render([("甲", written)], "戊", "").startswith(
        "<|Human|>: 甲<eoh>\n<|Inner Thoughts|>: 想<eot>\n<|Commands|>: None<eoc>\n"
        "<|Results|>: None<eor>\n<|MOSS|>: 乙<eom>\n"
    )


def test_a_system_prompt_comes_before_the_rounds() -> None:
    for name in formats.names():
        found = formats.get(name)
        plain, told = found.render(TWO, "戊", None), found.render(TWO, "戊", "你是诗人")
        assert "你是诗人" not in plain, name
        if name == "shiyou":
            assert told == plain
        else:
            assert told.index("你是诗人") < told.index("甲？"), name
        if found.system:
            assert found.system.strip() not in told, name


def test_braces_in_messages_are_kept() -> None:
    text = "{query} {0} \\ %s [bold] \ud800 \0 é\u200d👨‍👩‍👧 \x1b[31m"
    for name in formats.names():
        prompt = formats.get(name).render([(f"a{text}b", f"c{text}d")], f"e{text}f", None)
        assert all(said in prompt for said in (f"a{text}b", f"c{text}d", f"e{text}f")), name


@pytest.mark.parametrize(
    ("name", "raw", "reply"),
    [
        ("shiyou", " 春眠不觉晓 \n", "春眠不觉晓"),
        ("chatglm-6b", " 你好,再见! ", "你好，再见！"),
        ("gpt2-chinese", "床 前 明 月 光 ， go home 了", "床前明月光，go home了"),
        ("alpaca:article", "好。\n\n### Instruction:\n再", "好。"),
        ("chinese-vicuna:chat", "好。\n\nUser:再", "好。"),
        ("chinese-vicuna:instruct", "好\ufffd。\n### 再", "好。"),
        ("llmzoo", "好</s>Human: <s>", "好"),
        ("moss", " 好<eom>\n<|Human|>: 再", "好"),
        ("linly", " 好\nUser: 再", "好"),
        ("belle", " 好\n\nHuman: 再", "好"),
        ("camelbell", "好\nInstruction: 再", "好"),
        ("chatglm3-6b", "\n 好<|user|>", "好"),
        ("chatrwkv", " 好\n\n", "好"),
    ],
)
def test_reply(name: str, raw: str, reply: str) -> None:
    assert formats.get(name).clean_reply(raw) == reply


def test_the_start_of_the_next_round_is_a_stop_string() -> None:
    """The text between two replies must contain a stop string."""
    for name in set(formats.names()) - {"gpt2-chinese", "bloomz"}:
        found = formats.get(name)
        prompt = found.render([("QUERY", "REPLY")], "NEXT", None)
        between = prompt[prompt.rindex("REPLY") + len("REPLY") : prompt.rindex("NEXT")]
        assert any(stop in between for stop in found.stop_strings), (name, between)


@pytest.mark.parametrize(
    ("name", "begun"),
    [("belle", " 乙"), ("bloomz", "\n乙"), ("shiyou", "乙"), ("chatglm-6b", "乙"), ("moss", " 乙")],
)
def test_reply_start_includes_the_formats_prefix(name: str, begun: str) -> None:
    form = formats.get(name)
    assert form.reply_start("甲", "乙") == begun
    assert form.reply_start("甲", " 乙") == " 乙"
