"""Keys and values of one sequence in buffers of fixed size, with the position on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from chatui.engine.cache import SHRINK_FACTOR, capacity_for


class Layer(Protocol):
    """One layer's keys and values."""

    def resize(self, capacity: int, used: int) -> None:
        """Move the first ``used`` tokens into buffers for ``capacity`` tokens."""
        ...


@dataclass
class FixedLayer:
    """One layer's keys and values, each ``[key heads, capacity, head width]``.

    Attributes:
        clean: whether slots are looked at that were not written yet.
    """

    keys: Tensor
    values: Tensor
    clean: bool

    def resize(self, capacity: int, used: int) -> None:
        """See :class:`Layer`."""
        self.keys = resized_buffer(self.keys, capacity, used, clean=self.clean)
        self.values = resized_buffer(self.values, capacity, used, clean=self.clean)


class FixedCache:
    """A KV cache whose buffers stay where they are until they are full.

    A step writes at ``position``, which lies on the device, so a captured step can be replayed;
    forgetting tokens sets it back.

    Args:
        layers: with no room yet.
        position: ``[1]`` int64, 0.
        window: tokens that there is never room for more than, unless more are read.
        step: the buffers' length is a multiple of it, unless the window ends it.

    Attributes:
        layers: the buffers.
        length: tokens read so far.
        position: the same number on the device.
        capacity: tokens that the buffers hold.
        steps: captured steps by their window; they are valid for the present buffers alone.
    """

    def __init__(self, layers: Sequence[Layer], position: Tensor, window: int, step: int) -> None:
        self._window = window
        self._step = step
        self.layers: Sequence[Any] = layers
        self.length = 0
        self.position = position
        self.capacity = 0
        self.steps: dict[int, Any] = {}

    def get_seq_length(self) -> int:
        """See :meth:`chatui.engine.model.Network.new_cache`."""
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
        if self.capacity >= SHRINK_FACTOR * fitting:
            self._resize(fitting)

    def _capacity_for(self, tokens: int) -> int:
        return capacity_for(tokens, self._window, self._step)

    def _resize(self, capacity: int) -> None:
        self.steps.clear()
        for layer in self.layers:
            layer.resize(capacity, self.length)
        self.capacity = capacity


def resized_buffer(buffer: Tensor, capacity: int, used: int, *, clean: bool) -> Tensor:
    """The first ``used`` tokens of ``[…, tokens, width]`` in a buffer for ``capacity`` tokens.

    Args:
        clean: write zeros behind them, which takes the memory at once. A slot that is masked out
            still takes part with 0, and 0 · NaN would be NaN.
    """
    larger = buffer.new_empty((*buffer.shape[:-2], capacity, buffer.shape[-1]))
    larger[..., :used, :] = buffer[..., :used, :]
    if clean:
        larger[..., used:, :] = 0
    return larger
