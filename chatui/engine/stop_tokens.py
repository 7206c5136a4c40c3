"""The tokens that end a reply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chatui.catalog.model_files import read_json_object
from chatui.engine.codec import decoder_kinds, special_ids
from chatui.engine.tokenizer_template import template_end_ids
from chatui.messages import ModelSpec
from chatui.prompting.families import CHAT_TEMPLATE
from chatui.prompting.format import PromptFormat

# Tokens that end a reply in a family, besides those that its files name. BLOOM learns to end with
# <pad> if it is tuned as peft's examples do it, and so in ``chatui dataset``.
END_TOKENS = {"moss": ("<eom>",), "llama": ("</s>",), "chatglm": ("<eop>",), "bloom": ("<pad>",)}


def end_ids(
    spec: ModelSpec, family: str, format: PromptFormat, config: Any, folder: Path, tokenizer: Any
) -> frozenset[int]:
    """The spec's; else what config, generation config, tokenizer, family and template name."""
    if spec.eos_ids:
        return frozenset(spec.eos_ids)
    found: set[Any] = {tokenizer.eos_token_id}
    named = [getattr(config, "eos_token_id", None)]
    file = folder / "generation_config.json"
    if file.is_file():
        named.append(read_json_object(file).get("eos_token_id"))
    for value in named:
        found |= set(value) if isinstance(value, list | tuple) else {value}
    if "WordPiece" in decoder_kinds(tokenizer):
        found |= {tokenizer.pad_token_id, tokenizer.sep_token_id}
    vocabulary = tokenizer.get_vocab()
    found |= {vocabulary.get(token) for token in END_TOKENS.get(family, ())}
    if format.name == CHAT_TEMPLATE:
        found |= template_end_ids(tokenizer, special_ids(tokenizer))
    return frozenset(id for id in found if isinstance(id, int))
