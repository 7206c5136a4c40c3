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
        self._key_buffer: torch.Tensor | None = None
        self._value_buffer: torch.Tensor | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append ``[1, heads, new, head_dim]`` and return all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self._length, self._length + key_states.shape[-2]
        self._key_buffer = self._with_room(self._key_buffer, key_states, start, end)
        self._value_buffer = self._with_room(self._value_buffer, value_states, start, end)
        self._length = end
        self.keys = self._key_buffer[:, :, :end]
        self.values = self._value_buffer[:, :, :end]
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self._length

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last ``-tokens_to_remove`` tokens, and shrink buffers that are too large."""
        length = self._length = self._length + tokens_to_remove
        if self._key_buffer is None or self._value_buffer is None:
            return
        if self._key_buffer.shape[-2] >= SHRINK_FACTOR * capacity_for(length, self._window):
            self._key_buffer = self._with_room(None, self._key_buffer[:, :, :length], 0, length)
            self._value_buffer = self._with_room(None, self._value_buffer[:, :, :length], 0, length)
        self.keys = self._key_buffer[:, :, :length]
        self.values = self._value_buffer[:, :, :length]

    def reset(self) -> None:
        self._length = 0
        self._key_buffer = self._value_buffer = None
        super().reset()

    def _with_room(
        self, buffer: torch.Tensor | None, states: torch.Tensor, used: int, needed: int
    ) -> torch.Tensor:
        """Write ``states`` behind the ``used`` first tokens; grow ``buffer`` to ``needed``."""
        if buffer is None or buffer.shape[-2] < needed:
            batch, heads, _, width = states.shape
            grown = states.new_empty((batch, heads, capacity_for(needed, self._window), width))
            if buffer is not None:
                grown[:, :, :used] = buffer[:, :, :used]
            buffer = grown
        buffer[:, :, used:needed] = states
        return buffer


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
