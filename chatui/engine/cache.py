"""KV caches: transformers' cache with growing buffers, and the cache kept between replies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig
from transformers.cache_utils import (
    Cache,
    CacheLayerMixin,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionCacheLayerMixin,
)

from chatui.engine.memory import free_unused
from chatui.engine.model import Network, common_prefix

GROWTH_STEP = 256
"""Buffers are allocated in multiples of this many tokens."""
SHRINK_FACTOR = 4
"""A buffer this many times larger than needed is replaced by a smaller one."""
_TRIM_BYTES = 8 << 20
"""Freed bytes from which memory is returned to the system."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values in preallocated buffers, ``[1, heads, capacity, head_dim]``.

    ``DynamicLayer`` copies the whole cache for each new token. These buffers grow by a quarter, so
    appending takes amortised constant time. ``keys`` and ``values`` are views of the used part.

    Args:
        window: maximum capacity in tokens; exceeded only if more tokens are appended.
    """

    def __init__(self, window: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._window = window
        self._length = 0
        self._buffers: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append ``[1, heads, new, head_dim]`` and return all keys and values."""
        new = (key_states, value_states)
        if not self._buffers:
            self.lazy_initialization(*new)
            self._buffers = [states[:, :, :0] for states in new]
        start, end = self._length, self._length + key_states.shape[-2]
        if self._buffers[0].shape[-2] < end:
            self._resize(capacity_for(end, self._window), start)
        for buffer, states in zip(self._buffers, new, strict=True):
            buffer[:, :, start:end] = states
        self._show(end)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self._length

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last ``-tokens_to_remove`` tokens, and shrink buffers that are too large."""
        if not self._buffers:
            return
        length = self._length + tokens_to_remove
        fitting = capacity_for(length, self._window)
        if self._buffers[0].shape[-2] >= SHRINK_FACTOR * fitting:
            self._resize(fitting, length)
        self._show(length)

    def _resize(self, capacity: int, used: int) -> None:
        self._buffers = [resized_buffer(buffer, capacity, used) for buffer in self._buffers]

    def _show(self, length: int) -> None:
        self._length = length
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)


def resized_buffer(
    buffer: torch.Tensor, capacity: int, used: int, *, zero_unused: bool = False
) -> torch.Tensor:
    """Copy the first ``used`` tokens of ``[…, tokens, width]`` to a buffer for ``capacity`` tokens.

    Args:
        zero_unused: fill the rest with zeros, which commits its memory at once. A masked slot is
            multiplied by 0, which gives NaN for uninitialised values.
    """
    resized = buffer.new_empty((*buffer.shape[:-2], capacity, buffer.shape[-1]))
    resized[..., :used, :] = buffer[..., :used, :]
    if zero_unused:
        resized[..., used:, :] = 0
    return resized


def capacity_for(tokens: int, window: int, step: int = GROWTH_STEP) -> int:
    """Return the capacity to allocate for ``tokens``: a quarter more, at most the window.

    Args:
        tokens: minimum capacity.
        window: maximum length of a sequence.
        step: the capacity is a multiple of it, unless the window limits it.
    """
    steps = -(-(tokens + tokens // 4) // step)
    return max(tokens, min(max(1, steps) * step, window))


class CountingCache(DynamicCache):  # type: ignore[misc]
    """transformers' cache that also knows its length if all layers are recurrent."""

    _tokens_read = 0

    def forward(self, model: Any, ids: torch.Tensor, **options: Any) -> Any:
        """Run the model on the next tokens, ``[1, new]``, and return its output."""
        output = model(ids, cache=self, use_cache=True, return_dict=True, **options)
        self._tokens_read += ids.shape[1]
        return output

    def get_seq_length(self, layer_idx: int = 0) -> int:
        if any(isinstance(layer, CacheLayerMixin) for layer in self.layers):
            return int(super().get_seq_length(layer_idx))
        return self._tokens_read


class RecomputingCache:
    """Substitute for a cache: keeps the token ids and reads all of them again each time."""

    layers: Sequence[Any] = ()

    def __init__(self) -> None:
        self._ids: torch.Tensor | None = None

    def forward(self, model: Any, ids: torch.Tensor, **options: Any) -> Any:
        """See :meth:`CountingCache.forward`."""
        self._ids = ids if self._ids is None else torch.cat((self._ids, ids), 1)
        return model(self._ids, use_cache=False, return_dict=True, **options)

    def get_seq_length(self) -> int:
        return 0 if self._ids is None else self._ids.shape[1]


def new_cache(config: PreTrainedConfig, window: int) -> Cache:
    """Return an empty cache for one sequence of up to ``window`` tokens."""
    cache = CountingCache(config=config)
    cache.layers = [
        GrowingLayer(window) if _keeps_all(layer, window) else layer for layer in cache.layers
    ]
    return cache


def _keeps_all(layer: Any, window: int) -> bool:
    slides = type(layer) is DynamicSlidingWindowLayer
    return type(layer) is DynamicLayer or (slides and layer.sliding_window >= window)


def can_crop(cache: Cache) -> bool:
    """True if any number of last tokens can be removed: no sliding window, no recurrent state."""
    return bool(cache.layers) and all(type(layer) is GrowingLayer for layer in cache.layers)


def has_recurrent_states(cache: Cache) -> bool:
    """True if a layer keeps a state of fixed size instead of keys and values."""
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers)


def cache_bytes(cache: Cache) -> int:
    """Return the size of the cache's buffers in bytes."""
    tensors = (tensor for layer in cache.layers for tensor in vars(layer).values())
    storages = [tensor.untyped_storage() for tensor in tensors if isinstance(tensor, torch.Tensor)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


class LastPromptCache:
    """The KV cache of the last prompt and reply.

    The part that a new conversation does not share is freed.

    Attributes:
        ids: the tokens in ``cache``.
        cache: None before the first reply and during one.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.cache: Cache | None = None

    @property
    def held_bytes(self) -> int:
        """See :class:`chatui.engine.model.PromptCache`."""
        return 0 if self.cache is None else cache_bytes(self.cache)

    def take(self, network: Network, ids: Sequence[int]) -> tuple[Cache, int]:
        """See :class:`chatui.engine.model.PromptCache`."""
        cache, known = self.cache, self.ids
        self.cache, self.ids = None, []
        if cache is None:
            return network.new_cache(), 0
        before = cache_bytes(cache)
        kept = common_prefix(known, ids[:-1]) if network.reuses_prefix else 0
        if kept < cache.get_seq_length():
            cache.crop(kept - cache.get_seq_length())
        if before - cache_bytes(cache) >= _TRIM_BYTES:
            free_unused()
        return cache, kept

    def put(self, network: Network, cache: Cache, ids: list[int]) -> None:
        """See :class:`chatui.engine.model.PromptCache`."""
        # Graphs captured on a cache's buffers can be replayed for the next prompt.
        if network.reuses_prefix or getattr(cache, "steps", None):
            self.cache, self.ids = cache, ids
