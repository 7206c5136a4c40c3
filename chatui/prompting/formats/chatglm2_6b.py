"""ChatGLM2-6B: numbered rounds from 1, each part after a blank line, in the first round too."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.format import Exchange, PromptFormat


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    opening = f"{system}\n\n" if system else ""
    rounds = "".join(
        f"[Round {number}]\n\n问：{asked}\n\n答：{answered}\n\n"
        for number, (asked, answered) in enumerate(history, 1)
    )
    return f"{opening}{rounds}[Round {len(history) + 1}]\n\n问：{query}\n\n答："


FORMAT = PromptFormat(
    name="chatglm2-6b",
    render=render,
    source="THUDM/chatglm2-6b: tokenization_chatglm.py, build_prompt()",
    stop_strings=("\n[Round",),
)
