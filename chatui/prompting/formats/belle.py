"""BELLE on BLOOMZ; later rounds follow each other with a blank line."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.cleaning import cut_at
from chatui.prompting.format import Exchange, PromptFormat


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    opening = f"{system}\n\n" if system else ""
    rounds = "".join(
        f"Human: {asked.strip()}\n\nAssistant: {answered}\n\n" for asked, answered in history
    )
    return f"{opening}{rounds}Human: {query.strip()}\n\nAssistant:"


FORMAT = PromptFormat(
    name="belle",
    render=render,
    source="LianjiaTech/BELLE: models/gptq/bloom_inference.py",
    stop_strings=("\nHuman:",),
    clean_reply=cut_at("\nHuman:"),
)
