"""LLMZoo's Phoenix and Chimera; the prompt's <s> and </s> become the special tokens."""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.cleaning import cut_at
from chatui.prompting.format import Exchange, PromptFormat

PREAMBLE = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)


def _said(role: str, text: str) -> str:
    """A message; an empty one is left open."""
    return f"{role}: <s>{text}</s>" if text else f"{role}: <s>"


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    preamble = PREAMBLE if system is None else system
    opening = f"{preamble}\n\n" if preamble else ""
    rounds = "".join(
        _said("Human", asked) + _said("Assistant", answered) for asked, answered in history
    )
    return opening + rounds + _said("Human", query) + _said("Assistant", "")


FORMAT = PromptFormat(
    name="llmzoo",
    render=render,
    source="FreedomIntelligence/LLMZoo: llmzoo/utils.py",
    stop_strings=("</s>", "Human: <s>"),
    clean_reply=cut_at("</s>"),
    system=PREAMBLE,
)
