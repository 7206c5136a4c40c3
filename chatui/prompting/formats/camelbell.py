"""CamelBell: ChatGLM-Tuning's instructions.

A query may bring an input of its own, on a line that begins with "Input: ". The original reads a
single instruction; later rounds repeat its lines.
"""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.cleaning import cut_at
from chatui.prompting.format import Exchange, PromptFormat


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    opening = f"{system}\n" if system else ""
    rounds = "".join(f"Instruction: {asked}\nAnswer: {answered}\n" for asked, answered in history)
    return f"{opening}{rounds}Instruction: {query}\nAnswer: "


FORMAT = PromptFormat(
    name="camelbell",
    render=render,
    source="mymusise/ChatGLM-Tuning: cover_alpaca2jsonl.py, format_example; "
    "LC1332/CamelBell-Chinese-LoRA: notebook/load_infer.ipynb",
    stop_strings=("\nInstruction:",),
    clean_reply=cut_at("\nInstruction:"),
)
