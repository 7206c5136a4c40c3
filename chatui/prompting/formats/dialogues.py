"""The formats of dialogues.toml, and similar formats with functions of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from msgspec import toml

from chatui.prompting.format import Exchange, PromptFormat, cut_at, dialogue
from chatui.prompting.prompt_text import LiteralText, joined

_CJK = "\u2e80-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
_SPACE_BESIDE_HAN = re.compile(f"(?<=[{_CJK}]) +| +(?=[{_CJK}])")
_ZOO_PREAMBLE = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)

TRAINING_TIME = "[[训练时间]]"
TRAINING_YEAR = "2023年"
FULL_WIDTH = {",": "，", "!": "！", ":": "：", ";": "；", "?": "？"}
CJK = "\u4e00-\u9fff"

_MARK_BESIDE_CJK = re.compile(f"(?<=[{CJK}])[,!:;?]|[,!:;?](?=[{CJK}])")
_ROLES = ("<|user|>", "<|observation|>", "<|system|>")


def _read() -> dict[str, PromptFormat]:
    text = Path(__file__).with_name("dialogues.toml").read_text(encoding="utf-8")
    table: dict[str, dict[str, Any]] = toml.decode(text)
    found = {}
    for name, values in table.items():
        arguments = {**table.get(values.pop("like", ""), {}), **values}
        found[name] = dialogue(name, **arguments)
    return found


def _without_spaces(text: str) -> str:
    """Remove the spaces that BERT's decoding inserts between Chinese characters."""
    return _SPACE_BESIDE_HAN.sub("", text).strip(" ")


def _render_web_demo(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    """Render Chinese-Alpaca's rounds with the stray line breaks and spaces of its web demo.

    A round with an empty reply, such as the last one, is left open.
    """
    preamble = PREAMBLE if system is None else system
    opening = f"\n{preamble}\n" if preamble else "\n"
    rounds = (
        f"### Instruction:\n{asked}\n\n### Response: {reply}" + ("\n\n" if reply else "")
        for asked, reply in [*history, (query, "")]
    )
    return f"{opening}{''.join(rounds)}\n "


def _render_vicuna(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    """Render Chinese-Vicuna's instruction, which contains all rounds."""
    preamble = PREAMBLE if system is None else system
    opening = f"{preamble}\n\n" if preamble else ""
    rounds = "\n".join(f"User:{asked}\nAssistant:{answered}" for asked, answered in history)
    instruction = f"{rounds}\nUser:{query}\nAssistant:"
    return f"{opening}### Instruction:\n{instruction}\n\n### Response:"


def _clean_vicuna(text: str) -> str:
    """Cut a reply where the model writes the user's next turn; remove undecodable characters."""
    return cut_at("User:", "###", "</s>")(text.replace("\N{REPLACEMENT CHARACTER}", ""))


def _render_zoo(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    """Render LLMZoo's messages between the special tokens <s> and </s>; empty ones stay open."""
    preamble = _ZOO_PREAMBLE if system is None else system
    opening = f"{preamble}\n\n" if preamble else ""
    messages = (
        f"{role}: <s>{text}</s>" if text else f"{role}: <s>"
        for exchange in (*history, (query, ""))
        for role, text in zip(("Human", "Assistant"), exchange, strict=True)
    )
    return opening + "".join(messages)


def process_response(text: str) -> str:
    """Clean a reply like ChatGLM-6B (THUDM/chatglm-6b: modeling_chatglm.py).

    Strips white space, replaces the placeholder of the training time by the year, and makes
    `,` `!` `:` `;` `?` next to a CJK character (U+4E00–9FFF, on either side) full-width.
    """
    text = text.strip().replace(TRAINING_TIME, TRAINING_YEAR)
    return _MARK_BESIDE_CJK.sub(lambda match: FULL_WIDTH[match[0]], text)


def _render_glm(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    """Render the bare query in the first round, then rounds numbered from 0."""
    opening = f"{system}\n" if system else ""
    return opening + (DIALOGUES["shiyou"].render(history, query, None) if history else query)


def _render_glm3(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    """Render roles as special tokens, each followed by a line break and a space."""
    messages = [("<|system|>", system)] if system else []
    for earlier, reply in history:
        messages += [("<|user|>", earlier), ("<|assistant|>", reply)]
    messages.append(("<|user|>", query))
    parts = (part for role, text in messages for part in (f"{role}\n ", LiteralText(text)))
    return joined(*parts, "<|assistant|>")


DIALOGUES = _read()
PREAMBLE = DIALOGUES["alpaca:article"].system or ""
_VICUNA = replace(DIALOGUES["chinese-vicuna:chat"], clean_reply=_clean_vicuna)

FORMATS = (
    *DIALOGUES.values(),
    replace(DIALOGUES["gpt2-chinese"], clean_reply=_without_spaces),
    replace(
        DIALOGUES["alpaca:article"],
        name="chinese-alpaca",
        source="ymcui/Chinese-LLaMA-Alpaca: scripts/inference/gradio_demo.py",
        render=_render_web_demo,
    ),
    _VICUNA,
    replace(
        _VICUNA,
        name="chinese-vicuna:instruct",
        source="Facico/Chinese-Vicuna: prompt.py, instruct_prompt",
        render=_render_vicuna,
        system=PREAMBLE,
    ),
    PromptFormat(
        name="llmzoo",
        render=_render_zoo,
        source="FreedomIntelligence/LLMZoo: llmzoo/utils.py",
        stop_strings=("</s>", "Human: <s>"),
        clean_reply=cut_at("</s>"),
        system=_ZOO_PREAMBLE,
    ),
    PromptFormat(
        name="chatglm-6b",
        render=_render_glm,
        source="THUDM/chatglm-6b: modeling_chatglm.py, chat()",
        stop_strings=("\n[Round",),
        clean_reply=process_response,
    ),
    PromptFormat(
        name="chatglm3-6b",
        render=_render_glm3,
        source="THUDM/ChatGLM3: PROMPT.md; THUDM/chatglm3-6b: tokenizer_config.json, chat_template",
        stop_strings=_ROLES,
        clean_reply=cut_at(*_ROLES),
        literal=True,
    ),
)
