"""The KV cache of a decoder: transformers' own, with layers that do not copy themselves to grow."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

_FIRST_CAPACITY = 256


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values in a buffer with room to spare, ``[1, heads, capacity, head_dim]``.

    ``DynamicLayer`` copies all that it holds for each new token; here the buffer doubles, so a
    token costs what it adds. ``keys`` and ``values`` are views of the part in use.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._length = 0
        self._key_buffer: torch.Tensor | None = None
        self._value_buffer: torch.Tensor | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append ``[1, heads, new, head_dim]`` and return all keys and values so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self._length, self._length + key_states.shape[-2]
        self._key_buffer = _with_room(self._key_buffer, key_states, start, end)
        self._value_buffer = _with_room(self._value_buffer, value_states, start, end)
        self._key_buffer[:, :, start:end] = key_states
        self._value_buffer[:, :, start:end] = value_states
        self._length = end
        self.keys = self._key_buffer[:, :, :end]
        self.values = self._value_buffer[:, :, :end]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self._length

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last ``-tokens_to_remove`` tokens."""
        self._length += tokens_to_remove
        if self._key_buffer is not None and self._value_buffer is not None:
            self.keys = self._key_buffer[:, :, : self._length]
            self.values = self._value_buffer[:, :, : self._length]

    def reset(self) -> None:
        self._length = 0
        self._key_buffer = self._value_buffer = None
        super().reset()


def _with_room(
    buffer: torch.Tensor | None, states: torch.Tensor, used: int, needed: int
) -> torch.Tensor:
    """A buffer of at least ``needed`` tokens with the ``used`` first ones of ``buffer`` in it."""
    if buffer is not None and buffer.shape[-2] >= needed:
        return buffer
    capacity = max(_FIRST_CAPACITY, 1 << (needed - 1).bit_length())
    batch, heads, _, width = states.shape
    grown = states.new_empty((batch, heads, capacity, width))
    if buffer is not None:
        grown[:, :, :used] = buffer[:, :, :used]
    return grown


def new_cache(config: PreTrainedConfig) -> Cache:
    """An empty cache for one sequence of a model with ``config``."""
    cache = DynamicCache(config=config)
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def can_crop(cache: Cache) -> bool:
    """Whether any number of last tokens can be forgotten: no sliding window, no recurrent state."""
    return bool(cache.layers) and all(type(layer) is GrowingLayer for layer in cache.layers)
