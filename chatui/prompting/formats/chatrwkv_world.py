"""RWKV's World models: User and Assistant; a message keeps no blank line."""

from __future__ import annotations

import re

from chatui.prompting.rwkv import rwkv_format

PREAMBLE = (
    "User: hi\n\n"
    "Assistant: Hi. I am your assistant and I will provide expert full response in full details. "
    "Please feel free to ask any question and I will always answer it.\n\n"
)


def tidy(message: str) -> str:
    return re.sub(r"\n+", "\n", message.replace("\r\n", "\n").strip())


FORMAT = rwkv_format(
    "chatrwkv:world",
    "BlinkDL/ChatRWKV: API_DEMO_CHAT.py",
    user="User",
    bot="Assistant",
    preamble=PREAMBLE,
    tidy=tidy,
)
