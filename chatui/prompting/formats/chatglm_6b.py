"""ChatGLM-6B: the bare query in the first round, then numbered rounds from 0."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.chatglm_reply import process_response
from chatui.prompting.format import Exchange, PromptFormat
from chatui.prompting.formats import shiyou


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    opening = f"{system}\n" if system else ""
    return opening + (shiyou.render(history, query) if history else query)


FORMAT = PromptFormat(
    name="chatglm-6b",
    render=render,
    source="THUDM/chatglm-6b: modeling_chatglm.py, chat()",
    stop_strings=("\n[Round",),
    clean_reply=process_response,
)
