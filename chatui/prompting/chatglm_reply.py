"""How ChatGLM-6B shows a reply: `process_response` of THUDM/chatglm-6b, modeling_chatglm.py."""

from __future__ import annotations

import re

TRAINING_TIME = "[[训练时间]]"
TRAINING_YEAR = "2023年"
FULL_WIDTH = {",": "，", "!": "！", ":": "：", ";": "；", "?": "？"}
CJK = "\u4e00-\u9fff"

_MARK_BESIDE_CJK = re.compile(f"(?<=[{CJK}])[,!:;?]|[,!:;?](?=[{CJK}])")


def process_response(text: str) -> str:
    """The reply as it is shown.

    White space at both ends goes, the placeholder of the training time becomes the year, and
    `,` `!` `:` `;` `?` next to a CJK character (U+4E00–9FFF, on either side) become full-width.
    """
    text = text.strip().replace(TRAINING_TIME, TRAINING_YEAR)
    return _MARK_BESIDE_CJK.sub(lambda match: FULL_WIDTH[match[0]], text)
