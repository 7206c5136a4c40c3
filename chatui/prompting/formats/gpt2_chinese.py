"""Plain continuation: the model reads the bare text, and later rounds go on from what there is."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chatui.prompting.format import Exchange, PromptFormat

_CJK = "\u2e80-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
_SPACE_BESIDE_HAN = re.compile(f"(?<=[{_CJK}]) +| +(?=[{_CJK}])")


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    """What was typed and what was written stand one after the other, as one running text."""
    return (system or "") + "".join(asked + answered for asked, answered in history) + query


def clean(text: str) -> str:
    """The text without the spaces that BERT's decoding puts between characters."""
    return _SPACE_BESIDE_HAN.sub("", text).strip(" ")


FORMAT = PromptFormat(
    name="gpt2-chinese",
    render=render,
    source="uer/gpt2-chinese-cluecorpussmall: model card (text-generation pipeline)",
    clean_reply=clean,
)
