"""Weights published as a delta: base + delta = model, added tensor by tensor while reading.

As in apply_delta.py of FastChat and LLMZoo: both are in the dtype of the delta (float16 for Chimera
and Vicuna), and the rows of tokens that the base lacks are zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from chatui.engine.weights import LazyTensor, TensorEntry, TensorReader, find_weights
from chatui.errors import ChatuiError
from chatui.locales import say

_TABLES = ("embed_tokens.weight", "word_embeddings.weight", "wte.weight", "lm_head.weight")
_BUFFERS = ("rotary_emb.inv_freq",)


@dataclass(frozen=True)
class WeightDelta:
    """A delta whose tensors match those of its base.

    Attributes:
        entries: its tensors.
        vocabulary: rows of its embeddings if the base has fewer; None if it has as many.
    """

    entries: tuple[TensorEntry, ...]
    vocabulary: int | None

    def tensors(self, reader: TensorReader, base: Iterable[TensorEntry]) -> dict[str, LazyTensor]:
        """Return the tensors of base + delta, by name.

        Args:
            reader: reads the entries of both.
            base: the base's entries.
        """
        deltas = {entry.key: entry for entry in self.entries}
        tensors = {}
        for entry in base:
            delta = deltas.get(entry.key)
            read = partial(_read_sum, reader, entry, delta)
            tensors[entry.key] = LazyTensor(delta or entry, read)
        return tensors


def _read_sum(reader: TensorReader, base: TensorEntry, delta: TensorEntry | None) -> Tensor:
    """Read a base's tensor, and add its delta if it has one."""
    if delta is None:
        return reader.read(base)
    total = reader.read(delta).clone()
    total[: base.shape[0]] += reader.read(base).to(total.dtype)
    return total


def find_delta(folder: Path, base: Iterable[TensorEntry], base_title: str) -> WeightDelta:
    """Find the delta in a folder, and compare its headers with those of its base.

    Raises:
        ChatuiError: there are no weights, they cannot be read, or they are for another base.
    """
    found = {entry.key: entry for entry in find_weights(folder)}
    named = {"delta": folder, "base": base_title}
    rows: int | None = None
    entries = []
    for entry in base:
        if entry.key.endswith(_BUFFERS):
            continue
        delta = found.pop(entry.key, None)
        if delta is None:
            raise ChatuiError(say("adapters.delta_missing", key=entry.key, **named))
        if delta.shape != entry.shape:
            longer = entry.key.endswith(_TABLES) and delta.shape[1:] == entry.shape[1:]
            if not longer or delta.shape[0] < entry.shape[0] or rows not in (None, delta.shape[0]):
                shapes = {"found": list(delta.shape), "expected": list(entry.shape)}
                raise ChatuiError(say("adapters.delta_shape", key=entry.key, **shapes, **named))
            rows = delta.shape[0]
        entries.append(delta)
    extra = sorted(key for key in found if not key.endswith(_BUFFERS))
    if extra:
        raise ChatuiError(say("adapters.delta_extra", key=extra[0], **named))
    return WeightDelta(tuple(entries), rows)
