"""ChatGLM3-6B: roles in special tokens, each followed by a line break and a space."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.cleaning import cut_at
from chatui.prompting.format import Exchange, PromptFormat

ROLES = ("<|user|>", "<|observation|>", "<|system|>")


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    opening = f"<|system|>\n {system}" if system else ""
    rounds = "".join(f"<|user|>\n {asked}<|assistant|>\n {answered}" for asked, answered in history)
    return f"{opening}{rounds}<|user|>\n {query}<|assistant|>"


FORMAT = PromptFormat(
    name="chatglm3-6b",
    render=render,
    source="THUDM/ChatGLM3: PROMPT.md; THUDM/chatglm3-6b: tokenizer_config.json, chat_template",
    stop_strings=ROLES,
    clean_reply=cut_at(*ROLES),
)
