"""What the names in an adapter's file mean, as peft of any version and bare state dicts write them.

A LoRA pair is ``MODULE.lora_A.weight`` and ``MODULE.lora_B.weight``, with the adapter's name
before the leaf if the file is a bare state dict (``lora_A.default.weight``); everything else is
a tensor of the base that was trained whole (``modules_to_save``, biases, resized embeddings).
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
    """An adapter's tensors by what they are.

    Attributes:
        pairs: by module: the entries "A" and "B", or "embedding_A" and "embedding_B", perhaps
            "bias" (of B) and "magnitude_vector" (DoRA).
        replaced: by name: tensors of the base that the adapter brings whole.
        prefix: by name: the weights of a P-Tuning v2 prefix encoder.
    """

    pairs: dict[str, dict[str, TensorEntry]] = field(default_factory=dict)
    replaced: dict[str, TensorEntry] = field(default_factory=dict)
    prefix: dict[str, TensorEntry] = field(default_factory=dict)


def sort_entries(entries: Iterable[TensorEntry]) -> AdapterContents:
    """Sort an adapter's tensors by their names."""
    contents = AdapterContents()
    for entry in entries:
        name = _unwrapped(entry.key)
        found = _LORA.fullmatch(name)
        if found:
            part = "bias" if found["leaf"] == "bias" else found["part"]
            contents.pairs.setdefault(found["module"], {})[part] = entry
        elif PREFIX_ENCODER in name:
            contents.prefix[name.partition(PREFIX_ENCODER)[2]] = entry
        elif ".original_module." not in name and not name.endswith(_BUFFERS):
            contents.replaced[_SAVED.sub("", name).replace(".base_layer.", ".")] = entry
    return contents


def has_prefix(entries: Iterable[TensorEntry]) -> bool:
    """Whether a file holds a P-Tuning v2 prefix."""
    return any(PREFIX_ENCODER in entry.key for entry in entries)


def _unwrapped(key: str) -> str:
    shorter = key
    while True:
        for wrapper in _WRAPPERS:
            shorter = shorter.removeprefix(wrapper)
        if shorter == key:
            return key
        key = shorter
