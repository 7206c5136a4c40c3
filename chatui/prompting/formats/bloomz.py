"""BLOOMZ reads the bare query; earlier rounds stand before it, a line each."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.format import Exchange, PromptFormat


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    opening = f"{system}\n" if system else ""
    rounds = "".join(f"{asked}\n{answered}\n" for asked, answered in history)
    return f"{opening}{rounds}{query}"


FORMAT = PromptFormat(
    name="bloomz",
    render=render,
    source="bigscience/bloomz-7b1-mt: model card",
)
