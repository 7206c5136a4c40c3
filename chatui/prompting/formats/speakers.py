"""Two speakers in turn: BELLE, Linly's ChatFlow and ChatLLaMA, CamelBell, LLMZoo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chatui.prompting.format import Exchange, PromptFormat, cut_at, dialogue

ZOO_PREAMBLE = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)


def _render_zoo(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    """LLMZoo's Phoenix and Chimera: <s> and </s> are the special tokens; "" is left open."""
    preamble = ZOO_PREAMBLE if system is None else system
    opening = f"{preamble}\n\n" if preamble else ""
    said = (
        f"{role}: <s>{text}</s>" if text else f"{role}: <s>"
        for exchange in (*history, (query, ""))
        for role, text in zip(("Human", "Assistant"), exchange, strict=True)
    )
    return opening + "".join(said)


_LINLY = dialogue(
    "linly",
    "ProjectD-AI/llama_inference: llama_dialogue.py",
    asked="User: {query}\nBot: ",
    answered="{reply}\n",
    stops=("User:",),
)

FORMATS = (
    dialogue(
        "belle",
        "LianjiaTech/BELLE: models/gptq/bloom_inference.py",
        asked="Human: {query}\n\nAssistant:",
        answered=" {reply}\n\n",
        opening="{system}\n\n",
        stops=("\nHuman:",),
        tidy=str.strip,
    ),
    dialogue(
        "belle-llama",
        "LianjiaTech/BELLE: train/src/entry_point/interface.py, train/README_RLHF.md",
        asked="Human: \n{query}\n\nAssistant: \n",
        answered="{reply}\n\n",
        opening="{system}\n\n",
        stops=("\nHuman:",),
    ),
    _LINLY,
    # Chinese-ChatLLaMA became Linly.
    replace(_LINLY, name="chatllama"),
    # A query may bring an input of its own, on a line that begins with "Input: ".
    dialogue(
        "camelbell",
        "mymusise/ChatGLM-Tuning: cover_alpaca2jsonl.py, format_example; "
        "LC1332/CamelBell-Chinese-LoRA: notebook/load_infer.ipynb",
        asked="Instruction: {query}\nAnswer: ",
        answered="{reply}\n",
        stops=("\nInstruction:",),
    ),
    PromptFormat(
        name="llmzoo",
        render=_render_zoo,
        source="FreedomIntelligence/LLMZoo: llmzoo/utils.py",
        stop_strings=("</s>", "Human: <s>"),
        clean_reply=cut_at("</s>"),
        system=ZOO_PREAMBLE,
    ),
)
