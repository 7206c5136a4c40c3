"""ChatGLM3-6B: roles in special tokens, each followed by a line break and a space."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.cleaning import cut_at
from chatui.prompting.format import Exchange, PromptFormat
from chatui.prompting.prompt_text import Message, joined

ROLES = ("<|user|>", "<|observation|>", "<|system|>")


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    said = [("<|system|>", system)] if system else []
    for asked, answered in history:
        said += [("<|user|>", asked), ("<|assistant|>", answered)]
    said.append(("<|user|>", query))
    parts = (part for role, text in said for part in (f"{role}\n ", Message(text)))
    return joined(*parts, "<|assistant|>")


FORMAT = PromptFormat(
    name="chatglm3-6b",
    render=render,
    source="THUDM/ChatGLM3: PROMPT.md; THUDM/chatglm3-6b: tokenizer_config.json, chat_template",
    stop_strings=ROLES,
    clean_reply=cut_at(*ROLES),
    literal=True,
)
