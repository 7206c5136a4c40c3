"""Linly's ChatFlow."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.cleaning import cut_at
from chatui.prompting.format import Exchange, PromptFormat


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    opening = f"{system}\n" if system else ""
    rounds = "".join(f"User: {asked}\nBot: {answered}\n" for asked, answered in history)
    return f"{opening}{rounds}User: {query}\nBot: "


FORMAT = PromptFormat(
    name="linly",
    render=render,
    source="ProjectD-AI/llama_inference: llama_dialogue.py",
    stop_strings=("User:",),
    clean_reply=cut_at("User:"),
)
