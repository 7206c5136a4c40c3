"""Parse the tensor names of adapter files, from all versions of peft and from bare state dicts.

A LoRA pair is ``MODULE.lora_A.weight`` and ``MODULE.lora_B.weight``; bare state dicts insert the
adapter's name (``lora_A.default.weight``). All other tensors replace a tensor of the base
(``modules_to_save``, biases, resized embeddings).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from chatui.engine.weights import TensorEntry

PREFIX_ENCODER = "prefix_encoder."

_WRAPPERS = ("base_model.model.", "base_model.", "module.", "_orig_mod.")
_LORA = re.compile(
    r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)"
    r"(?:\.(?P<name>[^.]+))??(?:\.(?P<leaf>weight|bias))?"
)
_SAVED = re.compile(r"\.modules_to_save(?:\.(?!weight$|bias$)[^.]+)?")
_BUFFERS = ("rotary_emb.inv_freq", ".masked_bias", ".attn.bias", ".causal_mask")


@dataclass
class AdapterContents:
    """An adapter's tensors, by type.

    Attributes:
        pairs: LoRA pairs by module, with the entries "A" and "B", or "embedding_A" and
            "embedding_B", and optionally "bias" (of B) and "magnitude_vector" (DoRA).
        replaced: tensors that replace the base's, by name.
        prefix: weights of a P-Tuning v2 prefix encoder, by name.
    """

    pairs: dict[str, dict[str, TensorEntry]] = field(default_factory=dict)
    replaced: dict[str, TensorEntry] = field(default_factory=dict)
    prefix: dict[str, TensorEntry] = field(default_factory=dict)


def sort_entries(entries: Iterable[TensorEntry]) -> AdapterContents:
    """Sort an adapter's tensors by their names."""
    contents = AdapterContents()
    for entry in entries:
        name = _unwrapped(entry.key)
        match = _LORA.fullmatch(name)
        if match:
            part = "bias" if match["leaf"] == "bias" else match["part"]
            contents.pairs.setdefault(match["module"], {})[part] = entry
        elif PREFIX_ENCODER in name:
            contents.prefix[name.partition(PREFIX_ENCODER)[2]] = entry
        elif ".original_module." not in name and not name.endswith(_BUFFERS):
            contents.replaced[_SAVED.sub("", name).replace(".base_layer.", ".")] = entry
    return contents


def has_prefix(entries: Iterable[TensorEntry]) -> bool:
    """True if there is a P-Tuning v2 prefix among the tensors."""
    return any(PREFIX_ENCODER in entry.key for entry in entries)


def _unwrapped(key: str) -> str:
    shorter = key
    while True:
        for wrapper in _WRAPPERS:
            shorter = shorter.removeprefix(wrapper)
        if shorter == key:
            return key
        key = shorter
