"""Chinese-Vicuna's chat prompt."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.cleaning import cut_at
from chatui.prompting.format import Exchange, PromptFormat

PREAMBLE = (
    "The following is a conversation between an AI assistant called Assistant and a human user "
    "called User. The assistant is intelligent, knowledgeable and polite to answer questions of "
    "user."
)


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    preamble = PREAMBLE if system is None else system
    opening = f"{preamble}\n\n" if preamble else ""
    rounds = "".join(f"User:{asked}\n\nAssistant:{answered}\n\n" for asked, answered in history)
    return f"{opening}{rounds}User:{query}\n\nAssistant:"


def clean(text: str) -> str:
    """The reply up to where the model speaks for the user, without undecodable characters."""
    return cut_at("User:", "###", "</s>")(text.replace("\N{REPLACEMENT CHARACTER}", ""))


FORMAT = PromptFormat(
    name="chinese-vicuna:chat",
    render=render,
    source="Facico/Chinese-Vicuna: prompt.py, chat_prompt",
    stop_strings=("User:", "###"),
    clean_reply=clean,
    system=PREAMBLE,
)
