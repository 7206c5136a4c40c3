"""Preference pairs as token ids, each family as it lays out its training examples."""

from __future__ import annotations

from msgspec.structs import replace

from chatui.conversation.reply_filter import PreferencePair
from chatui.engine.examples.example_encoder import ExampleEncoder
from chatui.engine.examples.training_example import IGNORED


def pair_ids(encoder: ExampleEncoder, pair: PreferencePair) -> dict[str, list[int]] | None:
    """The columns that TRL's DPO trainer makes of a pair itself, without padding.

    What an example does not learn is the prompt, the rest is the reply; ChatGLM-6B's <sop> is thus
    the first token of both replies.

    Returns:
        "prompt_input_ids", "chosen_input_ids", "rejected_input_ids"; None if the family leaves
        the pair out or the limits leave nothing to learn of a reply.
    """
    chosen = encoder.text_pair(pair.dialogue, len(pair.dialogue.rounds) - 1)
    if chosen is None:
        return None
    columns: dict[str, list[int]] = {}
    both = [chosen, replace(chosen, reply=pair.rejected)]
    for name, ids in zip(("chosen", "rejected"), encoder.encode_pairs(both), strict=True):
        example = encoder.make_example(ids)
        begin, end = example.content
        labels = example.labels[begin:end]
        learned = next((at for at, label in enumerate(labels) if label != IGNORED), None)
        if learned is None:
            return None
        columns["prompt_input_ids"] = example.input_ids[begin : begin + learned]
        columns[f"{name}_input_ids"] = example.input_ids[begin + learned : end]
    return columns
