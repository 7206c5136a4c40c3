"""The embedded model's format: ChatGLM-6B's rounds, from the first round on."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.format import Exchange, PromptFormat


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    rounds = "".join(
        f"[Round {number}]\n问：{asked}\n答：{answered}\n"
        for number, (asked, answered) in enumerate(history)
    )
    return f"{rounds}[Round {len(history)}]\n问：{query}\n答："


FORMAT = PromptFormat(
    name="shiyou",
    render=render,
    source="THUDM/ChatGLM-6B: README.md, its rounds; here also in the first round",
    stop_strings=("\n[Round", "\n问："),
)
