"""Weights published as a delta: base + delta = model, added tensor by tensor while reading.

As in apply_delta.py of FastChat and LLMZoo: both are in the dtype of the delta (float16 for Chimera
and Vicuna), and the rows of tokens that the base lacks are zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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
        addends = {entry.key: entry for entry in self.entries}
        return {
            entry.key: SummedTensor(reader, entry, addends[entry.key])
            if entry.key in addends
            else LazyTensor(reader, entry)
            for entry in base
        }


class SummedTensor(LazyTensor):
    """The sum of a base's tensor and its delta, computed when it is read."""

    def __init__(self, reader: TensorReader, base: TensorEntry, delta: TensorEntry) -> None:
        super().__init__(reader, delta)
        self._base = base

    def __getitem__(self, index: object) -> Tensor:
        delta = super().__getitem__(index)
        base = self._reader.read(self._base).to(delta.dtype)
        if base.shape == delta.shape:
            return base + delta
        total = delta.clone()
        total[: base.shape[0]] += base
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
