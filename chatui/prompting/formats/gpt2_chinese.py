"""Plain continuation: the model reads the bare text, and later rounds go on from what there is."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.format import Exchange, PromptFormat


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    """What was typed and what was written stand one after the other, as one running text."""
    return "".join(asked + answered for asked, answered in history) + query


FORMAT = PromptFormat(
    name="gpt2-chinese",
    render=render,
    source="uer/gpt2-chinese-cluecorpussmall: model card (text-generation pipeline)",
    multi_round=False,
)
