"""ChatGLM-6B's numbered rounds and ChatGLM3's roles."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chatui.prompting.format import Exchange, PromptFormat, cut_at
from chatui.prompting.formats.toml_formats import DIALOGUES
from chatui.prompting.prompt_text import LiteralText, joined

TRAINING_TIME = "[[训练时间]]"
TRAINING_YEAR = "2023年"
FULL_WIDTH = {",": "，", "!": "！", ":": "：", ";": "；", "?": "？"}
CJK = "\u4e00-\u9fff"

_MARK_BESIDE_CJK = re.compile(f"(?<=[{CJK}])[,!:;?]|[,!:;?](?=[{CJK}])")


def process_response(text: str) -> str:
    """Clean a reply like ChatGLM-6B (THUDM/chatglm-6b: modeling_chatglm.py).

    Strips white space, replaces the placeholder of the training time by the year, and makes
    `,` `!` `:` `;` `?` next to a CJK character (U+4E00–9FFF, on either side) full-width.
    """
    text = text.strip().replace(TRAINING_TIME, TRAINING_YEAR)
    return _MARK_BESIDE_CJK.sub(lambda match: FULL_WIDTH[match[0]], text)


def _render_glm(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    """Render the bare query in the first round, then rounds numbered from 0."""
    opening = f"{system}\n" if system else ""
    return opening + (DIALOGUES["shiyou"].render(history, query, None) if history else query)


def _render_glm3(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    """Render roles as special tokens, each followed by a line break and a space."""
    messages = [("<|system|>", system)] if system else []
    for earlier, reply in history:
        messages += [("<|user|>", earlier), ("<|assistant|>", reply)]
    messages.append(("<|user|>", query))
    parts = (part for role, text in messages for part in (f"{role}\n ", LiteralText(text)))
    return joined(*parts, "<|assistant|>")


_ROLES = ("<|user|>", "<|observation|>", "<|system|>")

FORMATS = (
    PromptFormat(
        name="chatglm-6b",
        render=_render_glm,
        source="THUDM/chatglm-6b: modeling_chatglm.py, chat()",
        stop_strings=("\n[Round",),
        clean_reply=process_response,
    ),
    PromptFormat(
        name="chatglm3-6b",
        render=_render_glm3,
        source="THUDM/ChatGLM3: PROMPT.md; THUDM/chatglm3-6b: tokenizer_config.json, chat_template",
        stop_strings=_ROLES,
        clean_reply=cut_at(*_ROLES),
        literal=True,
    ),
)
