"""A KV cache of one sequence in preallocated buffers, with the position on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from chatui.engine.cache import SHRINK_FACTOR, capacity_for


class CacheLayer(Protocol):
    """The keys and values of a layer."""

    def resize(self, capacity: int, used: int) -> None:
        """Move the first ``used`` tokens into buffers for ``capacity`` tokens."""
        ...


@dataclass
class FixedLayer:
    """The keys and values of a layer, each ``[key heads, capacity, head_dim]``.

    Attributes:
        zero_unused: whether to fill unused slots with zeros, for steps that attend to them.
    """

    keys: Tensor
    values: Tensor
    zero_unused: bool

    def resize(self, capacity: int, used: int) -> None:
        """See :class:`CacheLayer`."""
        self.keys = resized_buffer(self.keys, capacity, used, zero_unused=self.zero_unused)
        self.values = resized_buffer(self.values, capacity, used, zero_unused=self.zero_unused)


class FixedCache:
    """A KV cache whose buffers are reallocated only when they are full.

    A step writes at ``position``, which is on the device, so that a captured step can be replayed.

    Args:
        layers: the layers, with empty buffers.
        position: int64 ``[1]``, 0.
        window: capacity limit in tokens, exceeded only if more tokens are read.
        step: the capacity is a multiple of this number of tokens, or the window.

    Attributes:
        layers: the layers.
        length: number of tokens read.
        position: the same number on the device.
        capacity: number of tokens that the buffers have room for.
        steps: captured steps by their window, valid for the present buffers only.
    """

    def __init__(
        self, layers: Sequence[CacheLayer], position: Tensor, window: int, step: int
    ) -> None:
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
        """Set the number of tokens; later ones are discarded."""
        self.length = length
        self.position.fill_(length)

    @torch.inference_mode()
    def crop(self, tokens_to_remove: int) -> None:
        """Discard the last ``-tokens_to_remove`` tokens, and shrink buffers that are too large."""
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


def resized_buffer(buffer: Tensor, capacity: int, used: int, *, zero_unused: bool) -> Tensor:
    """Copy the first ``used`` tokens of ``[…, tokens, width]`` to a buffer for ``capacity`` tokens.

    Args:
        zero_unused: fill the rest with zeros, which commits its memory at once. A masked slot is
            multiplied by 0, which gives NaN for uninitialised values.
    """
    larger = buffer.new_empty((*buffer.shape[:-2], capacity, buffer.shape[-1]))
    larger[..., :used, :] = buffer[..., :used, :]
    if zero_unused:
        larger[..., used:, :] = 0
    return larger
