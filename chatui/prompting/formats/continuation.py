"""Text that goes on: BLOOMZ reads the bare query, gpt2-chinese one running text."""

from __future__ import annotations

import re

from chatui.prompting.format import dialogue

_CJK = "\u2e80-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff"
_SPACE_BESIDE_HAN = re.compile(f"(?<=[{_CJK}]) +| +(?=[{_CJK}])")


def _without_spaces(text: str) -> str:
    """The text without the spaces that BERT's decoding puts between characters."""
    return _SPACE_BESIDE_HAN.sub("", text).strip(" ")


FORMATS = (
    dialogue(
        "bloomz", "bigscience/bloomz-7b1-mt: model card", asked="{query}", answered="\n{reply}\n"
    ),
    dialogue(
        "gpt2-chinese",
        "uer/gpt2-chinese-cluecorpussmall: model card (text-generation pipeline)",
        asked="{query}",
        answered="{reply}",
        opening="{system}",
        clean_reply=_without_spaces,
    ),
)
