"""Checks of a checkpoint's tensor names and shapes: RWKV generation, size, completeness."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from chatui.errors import ChatuiError
from chatui.locales import say

# Tensor names by generation, newest first (BlinkDL/RWKV-LM, RWKV-v5 to RWKV-v7, model.py).
_GENERATION_MARKS = (
    (7, re.compile(r"\.att\.(r_k|x_r|w0)$")),
    (6, re.compile(r"\.time_maa")),
    (5, re.compile(r"\.att\.(ln_x\.|gate\.)")),
)

_HF_NAMES = (
    (re.compile(r"^(rwkv|model)\."), ""),
    (re.compile(r"^embeddings\."), "emb."),
    (re.compile(r"\.pre_ln\."), ".ln0."),
    (re.compile(r"\.attention\."), ".att."),
    (re.compile(r"\.feed_forward\."), ".ffn."),
    (re.compile(r"\.time_mix_key$"), ".time_mix_k"),
    (re.compile(r"\.time_mix_value$"), ".time_mix_v"),
    (re.compile(r"\.time_mix_receptance$"), ".time_mix_r"),
)


def blinkdl_name(name: str) -> str:
    """Convert a tensor's name in transformers' RwkvForCausalLM to its name in a `.pth`."""
    for pattern, replacement in _HF_NAMES:
        name = pattern.sub(replacement, name)
    return name


@dataclass(frozen=True)
class RwkvSize:
    """The dimensions of a network.

    Attributes:
        layers: number of blocks.
        width: width of the embedding and of the blocks' inputs and outputs.
        attention: width inside time mixing.
        hidden: width inside channel mixing.
        vocabulary: rows of the embedding and the head.
    """

    layers: int
    width: int
    attention: int
    hidden: int
    vocabulary: int

    @property
    def state_numbers(self) -> int:
        """Count of the numbers in a state."""
        return self.layers * (2 * self.width + 3 * self.attention)

    def block_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor of a block; vectors have one dimension."""
        norms = ("ln1.weight", "ln1.bias", "ln2.weight", "ln2.bias")
        mixes = ("att.time_mix_k", "att.time_mix_v", "att.time_mix_r")
        return {
            **dict.fromkeys((*norms, *mixes, "ffn.time_mix_k", "ffn.time_mix_r"), (self.width,)),
            **dict.fromkeys(("att.time_decay", "att.time_first"), (self.attention,)),
            "att.key.weight": (self.attention, self.width),
            "att.value.weight": (self.attention, self.width),
            "att.receptance.weight": (self.attention, self.width),
            "att.output.weight": (self.width, self.attention),
            "ffn.key.weight": (self.hidden, self.width),
            "ffn.receptance.weight": (self.width, self.width),
            "ffn.value.weight": (self.width, self.hidden),
        }

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor."""
        blocks = {
            f"blocks.{layer}.{name}": shape
            for layer in range(self.layers)
            for name, shape in self.block_shapes().items()
        }
        norms = ("blocks.0.ln0.weight", "blocks.0.ln0.bias", "ln_out.weight", "ln_out.bias")
        tables = dict.fromkeys(("emb.weight", "head.weight"), (self.vocabulary, self.width))
        return {**blocks, **dict.fromkeys(norms, (self.width,)), **tables}


def checked_size(shapes: Mapping[str, tuple[int, ...]], source: object) -> RwkvSize:
    """Return the size of a complete RWKV-4 checkpoint.

    Args:
        shapes: shapes of all tensors, by BlinkDL's names.
        source: file or folder to name in an error.

    Raises:
        ChatuiError: the checkpoint is a later RWKV, another model or incomplete.
    """
    for generation, mark in _GENERATION_MARKS:
        if any(map(mark.search, shapes)):
            key = "rwkv.later_gguf" if generation > 5 else "rwkv.later"
            raise ChatuiError(say(key, file=source, generation=generation))
    blocks = (re.match(r"blocks\.(\d+)\.", name) for name in shapes)
    layers = 1 + max((int(block[1]) for block in blocks if block), default=-1)
    try:
        vocabulary, width = shapes["emb.weight"]
        attention = shapes["blocks.0.att.key.weight"][0]
        hidden = shapes["blocks.0.ffn.key.weight"][0]
    except (KeyError, ValueError, IndexError) as error:
        raise ChatuiError(say("rwkv.not_rwkv", file=source)) from error
    size = RwkvSize(layers, width, attention, hidden, vocabulary)
    expected = size.shapes()
    for name, shape in expected.items():
        if name not in shapes:
            raise ChatuiError(say("rwkv.tensor_missing", file=source, name=name))
        found = tuple(number for number in shapes[name] if number != 1)
        if found != tuple(number for number in shape if number != 1):
            raise ChatuiError(
                say("rwkv.wrong_shape", file=source, name=name, found=found, expected=shape)
            )
    surplus = sorted(shapes.keys() - expected.keys())
    if surplus:
        raise ChatuiError(say("rwkv.unknown_tensor", file=source, name=surplus[0]))
    return size
