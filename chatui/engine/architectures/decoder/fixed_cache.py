"""Keys and values of one sequence in buffers of fixed size, with the position on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chatui.engine.cache import SPARE, capacity_for


@dataclass
class FixedLayer:
    """One layer's keys and values, each ``[key heads, capacity, head width]``."""

    keys: Tensor
    values: Tensor

    def resize(self, capacity: int, used: int, *, clean: bool) -> None:
        """Move the first ``used`` tokens into buffers for ``capacity`` tokens.

        Args:
            clean: write zeros behind them, which takes the memory at once.
        """
        self.keys = _moved(self.keys, capacity, used, clean=clean)
        self.values = _moved(self.values, capacity, used, clean=clean)


class FixedCache:
    """A KV cache whose buffers stay where they are until they are full.

    A step writes at ``position``, which lies on the device, so a captured step can be replayed;
    forgetting tokens sets it back.

    Args:
        layers: how many.
        heads: key heads of a layer.
        width: numbers in a key.
        like: a tensor of the dtype and on the device of keys and values.
        window: tokens that there is never room for more than, unless more are read.
        step: the buffers' length is a multiple of it, unless the window ends it.
        clean: whether slots are looked at that were not written yet.

    Attributes:
        layers: the buffers.
        length: tokens read so far.
        position: ``[1]`` int64, the same number on the device.
        steps: captured steps by their window; they are valid for the present buffers alone.
    """

    def __init__(
        self, layers: int, heads: int, width: int, like: Tensor, window: int, step: int, clean: bool
    ) -> None:
        self._window = window
        self._step = step
        self._clean = clean
        shape = (heads, 0, width)
        self.layers = [
            FixedLayer(like.new_empty(shape), like.new_empty(shape)) for _ in range(layers)
        ]
        self.length = 0
        self.position = torch.zeros(1, dtype=torch.int64, device=like.device)
        self.steps: dict[int, Any] = {}

    @property
    def capacity(self) -> int:
        """Tokens that the buffers hold."""
        return self.layers[0].keys.shape[1]

    def get_seq_length(self) -> int:
        """See :class:`chatui.engine.model.ReadTokens`."""
        return self.length

    def reserve(self, tokens: int) -> None:
        """Grow the buffers until they hold ``tokens`` tokens."""
        if tokens > self.capacity:
            self._resize(self._capacity_for(tokens))

    def move_to(self, length: int) -> None:
        """Set the position: what stands behind it is forgotten."""
        self.length = length
        self.position.fill_(length)

    @torch.inference_mode()
    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last ``-tokens_to_remove`` tokens, and free buffers that are far too large."""
        self.move_to(self.length + tokens_to_remove)
        fitting = self._capacity_for(self.length)
        if self.capacity >= SPARE * fitting:
            self._resize(fitting)

    def _capacity_for(self, tokens: int) -> int:
        return capacity_for(tokens, self._window, self._step)

    def _resize(self, capacity: int) -> None:
        self.steps.clear()
        for layer in self.layers:
            # A slot that is masked out still takes part with 0, and 0 · NaN would be NaN.
            layer.resize(capacity, self.length, clean=self._clean)


def _moved(buffer: Tensor, capacity: int, used: int, *, clean: bool) -> Tensor:
    moved = buffer.new_empty((buffer.shape[0], capacity, buffer.shape[2]))
    moved[:, :used] = buffer[:, :used]
    if clean:
        moved[:, used:] = 0
    return moved
