"""What the formats of the Stanford Alpaca family share.

Source: tatsu-lab/stanford_alpaca, train.py. The original reads a single instruction; later rounds
repeat its two blocks, as ymcui/Chinese-LLaMA-Alpaca's scripts/inference/gradio_demo.py does.
"""

from __future__ import annotations

from collections.abc import Sequence

from chatui.prompting.cleaning import cut_at
from chatui.prompting.format import Exchange, PromptFormat

PREAMBLE = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)
STOPS = ("### Instruction:", "### Response:")


def alpaca_format(name: str, source: str, *, before_query: str, after_label: str) -> PromptFormat:
    """A format of the family.

    Args:
        before_query: what stands between "### Instruction:" and the query.
        after_label: what stands after "### Response:", at the prompt's end and before a reply.
    """

    def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
        preamble = PREAMBLE if system is None else system
        opening = f"{preamble}\n\n" if preamble else ""
        rounds = "".join(
            f"### Instruction:{before_query}{asked}\n\n### Response:{after_label}{answered}\n\n"
            for asked, answered in history
        )
        last = f"### Instruction:{before_query}{query}\n\n### Response:{after_label}"
        return opening + rounds + last

    return PromptFormat(
        name=name,
        render=render,
        source=source,
        stop_strings=STOPS,
        clean_reply=cut_at(*STOPS),
        system=PREAMBLE,
    )
