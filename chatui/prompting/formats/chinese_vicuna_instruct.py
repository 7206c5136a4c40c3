"""Chinese-Vicuna's instruction prompt: the rounds are the instruction."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.alpaca import PREAMBLE
from chatui.prompting.format import Exchange, PromptFormat
from chatui.prompting.formats.chinese_vicuna_chat import clean


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    """Without earlier rounds an empty line stays where they would stand."""
    preamble = PREAMBLE if system is None else system
    opening = f"{preamble}\n\n" if preamble else ""
    rounds = "\n".join(f"User:{asked}\nAssistant:{answered}" for asked, answered in history)
    instruction = f"{rounds}\nUser:{query}\nAssistant:"
    return f"{opening}### Instruction:\n{instruction}\n\n### Response:"


FORMAT = PromptFormat(
    name="chinese-vicuna:instruct",
    render=render,
    source="Facico/Chinese-Vicuna: prompt.py, instruct_prompt",
    stop_strings=("User:", "###"),
    clean_reply=clean,
    system=PREAMBLE,
)
