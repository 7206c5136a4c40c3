"""BELLE on LLaMA: each speaker's text on lines of its own."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.cleaning import cut_at
from chatui.prompting.format import Exchange, PromptFormat


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    opening = f"{system}\n\n" if system else ""
    rounds = "".join(
        f"Human: \n{asked}\n\nAssistant: \n{answered}\n\n" for asked, answered in history
    )
    return f"{opening}{rounds}Human: \n{query}\n\nAssistant: \n"


FORMAT = PromptFormat(
    name="belle-llama",
    render=render,
    source="LianjiaTech/BELLE: train/src/entry_point/interface.py, train/README_RLHF.md",
    stop_strings=("\nHuman:",),
    clean_reply=cut_at("\nHuman:"),
)
