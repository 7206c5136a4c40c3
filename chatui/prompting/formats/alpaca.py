"""The formats of the Stanford Alpaca family.

The original (tatsu-lab/stanford_alpaca, train.py) reads a single instruction; later rounds repeat
its two blocks, as ymcui/Chinese-LLaMA-Alpaca's scripts/inference/gradio_demo.py does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chatui.prompting.format import Exchange, PromptFormat, cut_at, dialogue

PREAMBLE = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)


def _alpaca(name: str, source: str, *, before_query: str = "\n", after_label: str) -> PromptFormat:
    """A format of the family.

    Args:
        before_query: between "### Instruction:" and the query.
        after_label: after "### Response:", at the prompt's end and before a reply.
    """
    return dialogue(
        name,
        source,
        asked=f"### Instruction:{before_query}{{query}}\n\n### Response:{after_label}",
        answered="{reply}\n\n",
        opening="{system}\n\n",
        system=PREAMBLE,
        stops=("### Instruction:", "### Response:"),
    )


def _render_web_demo(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    """Chinese-Alpaca in rounds, with the stray line breaks and spaces of its web demo.

    A round whose reply is empty is not closed, the last one included.
    """
    preamble = PREAMBLE if system is None else system
    opening = f"\n{preamble}\n" if preamble else "\n"
    rounds = (
        f"### Instruction:\n{asked}\n\n### Response: {reply}" + ("\n\n" if reply else "")
        for asked, reply in [*history, (query, "")]
    )
    return f"{opening}{''.join(rounds)}\n "


def _render_vicuna(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
    """Chinese-Vicuna's instruction, which holds the rounds after an empty line."""
    preamble = PREAMBLE if system is None else system
    opening = f"{preamble}\n\n" if preamble else ""
    rounds = "\n".join(f"User:{asked}\nAssistant:{answered}" for asked, answered in history)
    instruction = f"{rounds}\nUser:{query}\nAssistant:"
    return f"{opening}### Instruction:\n{instruction}\n\n### Response:"


def _clean_vicuna(text: str) -> str:
    """The reply up to where the model speaks for the user, without undecodable characters."""
    return cut_at("User:", "###", "</s>")(text.replace("\N{REPLACEMENT CHARACTER}", ""))


_ARTICLE = _alpaca(
    "alpaca:article",
    "tatsu-lab/stanford_alpaca: train.py, with a space after the last colon",
    after_label=" ",
)
_VICUNA = dialogue(
    "chinese-vicuna:chat",
    "Facico/Chinese-Vicuna: prompt.py, chat_prompt",
    asked="User:{query}\n\nAssistant:",
    answered="{reply}\n\n",
    opening="{system}\n\n",
    system=(
        "The following is a conversation between an AI assistant called Assistant and a human user "
        "called User. The assistant is intelligent, knowledgeable and polite to answer questions "
        "of user."
    ),
    stops=("User:", "###"),
    clean_reply=_clean_vicuna,
)

FORMATS = (
    _ARTICLE,
    _alpaca("alpaca-cot", "PhoebusSi/Alpaca-CoT: generate.py", after_label=""),
    _alpaca(
        "luotuo", "LC1332/Luotuo-Chinese-LLM: notebook/evaluation_code.ipynb", after_label="\n"
    ),
    _alpaca(
        "chinese-alpaca:single-turn",
        "ymcui/Chinese-LLaMA-Alpaca: scripts/inference/inference_hf.py",
        before_query="\n\n",
        after_label="\n\n",
    ),
    replace(
        _ARTICLE,
        name="chinese-alpaca",
        source="ymcui/Chinese-LLaMA-Alpaca: scripts/inference/gradio_demo.py",
        render=_render_web_demo,
    ),
    _VICUNA,
    replace(
        _VICUNA,
        name="chinese-vicuna:instruct",
        source="Facico/Chinese-Vicuna: prompt.py, instruct_prompt",
        render=_render_vicuna,
        system=PREAMBLE,
    ),
)
