"""MOSS with plugins: the model writes its thoughts and commands before the answer.

A round is ``<|Human|>``, ``<|Inner Thoughts|>``, ``<|Commands|>``, ``<|Results|>``, ``<|MOSS|>``.
No plugin runs here, so all of them are named as disabled, and the model fills every part itself;
:mod:`chatui.prompting.parts` takes the reply apart. A system text that enables some replaces the
whole instruction.
"""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.cleaning import cut_at
from chatui.prompting.format import Exchange, PromptFormat
from chatui.prompting.formats.moss import META_INSTRUCTION, opening

PLUGINS = (
    "- Web search: disabled.\n"
    "- Calculator: disabled.\n"
    "- Equation solver: disabled.\n"
    "- Text-to-image: disabled.\n"
    "- Image edition: disabled.\n"
    "- Text-to-speech: disabled.\n"
)
_NOTHING = (
    "<|Inner Thoughts|>: None<eot>\n<|Commands|>: None<eoc>\n<|Results|>: None<eor>\n<|MOSS|>: "
)
_PARTS = (("<|Commands|>:", "<eot>"), ("<|Results|>:", "<eoc>"), ("<|MOSS|>:", "<eor>"))


def _reply(text: str) -> str:
    """An earlier reply with all its parts, each closed by its mark (lost in the decoded text)."""
    if not text.startswith("<|Inner Thoughts|>"):
        return _NOTHING + text
    for label, mark in _PARTS:
        before, found, after = text.partition(label)
        if found and not before.rstrip().endswith(mark):
            text = f"{before.rstrip()}{mark}\n{label}{after}"
    return text


def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    rounds = "".join(
        f"<|Human|>: {asked}<eoh>\n{_reply(answered)}<eom>\n" for asked, answered in history
    )
    return f"{opening(META_INSTRUCTION + PLUGINS, system)}{rounds}<|Human|>: {query}<eoh>\n"


FORMAT = PromptFormat(
    name="moss:plugin",
    render=render,
    source="OpenLMLab/MOSS: README.md, 插件增强; meta_instruction.txt",
    stop_strings=("<eom>", "<|Human|>"),
    clean_reply=cut_at("<eom>", "<|Human|>"),
    system=META_INSTRUCTION + PLUGINS,
)
