"""Chinese-Alpaca in rounds, with the stray line breaks and spaces of its web demo."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.alpaca import PREAMBLE, STOPS
from chatui.prompting.cleaning import cut_at
from chatui.prompting.format import Exchange, PromptFormat


def _block(query: str, reply: str) -> str:
    """A round; one whose reply is empty is not closed, the last one included."""
    closing = "\n\n" if reply else ""
    return f"### Instruction:\n{query}\n\n### Response: {reply}{closing}"


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    preamble = PREAMBLE if system is None else system
    opening = f"\n{preamble}\n" if preamble else "\n"
    rounds = "".join(_block(asked, answered) for asked, answered in [*history, (query, "")])
    return f"{opening}{rounds}\n "


FORMAT = PromptFormat(
    name="chinese-alpaca",
    render=render,
    source="ymcui/Chinese-LLaMA-Alpaca: scripts/inference/gradio_demo.py",
    stop_strings=STOPS,
    clean_reply=cut_at(*STOPS),
    system=PREAMBLE,
)
