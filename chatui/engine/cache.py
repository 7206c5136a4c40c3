"""The KV cache: transformers' own with layers that grow in place, and the last prompt's, kept."""

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

from chatui.engine.allocator import trim_heap
from chatui.engine.model import Network

GROWTH_STEP = 256
"""Tokens by which buffers grow, or more at once."""
SHRINK_FACTOR = 4
"""A buffer this many times larger than what is left in it is exchanged for a smaller one."""
_WORTH_GIVING_BACK = 8 << 20


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values in a buffer with room to spare, ``[1, heads, capacity, head_dim]``.

    ``DynamicLayer`` copies all that it holds for each new token; here the buffer grows by a quarter
    of itself, so a token costs what it adds. ``keys`` and ``values`` are views of the part in use.

    Args:
        window: tokens that there is never room for more than, unless more are put in.
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
        """Append ``[1, heads, new, head_dim]`` and return all keys and values so far."""
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
        """Forget the last ``-tokens_to_remove`` tokens, and free a buffer that is far too large."""
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
        """A buffer for ``needed`` tokens or more: the ``used`` first of ``buffer``, ``states``."""
        if buffer is None or buffer.shape[-2] < needed:
            batch, heads, _, width = states.shape
            grown = states.new_empty((batch, heads, capacity_for(needed, self._window), width))
            if buffer is not None:
                grown[:, :, :used] = buffer[:, :, :used]
            buffer = grown
        buffer[:, :, used:needed] = states
        return buffer


def capacity_for(tokens: int, window: int, step: int = GROWTH_STEP) -> int:
    """Tokens that a buffer for ``tokens`` has room for: a quarter more, but no more than fit.

    Args:
        tokens: what it must hold.
        window: what a sequence may hold.
        step: the buffer's length is a multiple of it, unless the window ends it.
    """
    steps = -(-(tokens + tokens // 4) // step)
    return max(tokens, min(max(1, steps) * step, window))


class CountingCache(DynamicCache):  # type: ignore[misc]
    """transformers' cache, which knows its length even where it has recurrent states alone."""

    _read = 0

    def forward(self, model: Any, ids: torch.Tensor, **told: Any) -> Any:
        """The model's output for the tokens ``[1, new]`` behind those that were read."""
        output = model(ids, cache=self, use_cache=True, return_dict=True, **told)
        self._read += ids.shape[1]
        return output

    def get_seq_length(self, layer_idx: int = 0) -> int:
        if any(isinstance(layer, CacheLayerMixin) for layer in self.layers):
            return int(super().get_seq_length(layer_idx))
        return self._read


class RecomputingCache:
    """In place of a cache, for a network that keeps nothing: it reads all tokens each time."""

    layers: Sequence[Any] = ()

    def __init__(self) -> None:
        self._ids: torch.Tensor | None = None

    def forward(self, model: Any, ids: torch.Tensor, **told: Any) -> Any:
        """See :meth:`CountingCache.forward`."""
        self._ids = ids if self._ids is None else torch.cat((self._ids, ids), 1)
        return model(self._ids, use_cache=False, return_dict=True, **told)

    def get_seq_length(self) -> int:
        return 0 if self._ids is None else self._ids.shape[1]


def new_cache(config: PreTrainedConfig, window: int) -> Cache:
    """An empty cache for one sequence of up to ``window`` tokens of a model with ``config``."""
    cache = CountingCache(config=config)
    cache.layers = [
        GrowingLayer(window) if _keeps_all(layer, window) else layer for layer in cache.layers
    ]
    return cache


def _keeps_all(layer: Any, window: int) -> bool:
    slides = type(layer) is DynamicSlidingWindowLayer
    return type(layer) is DynamicLayer or (slides and layer.sliding_window >= window)


def can_crop(cache: Cache) -> bool:
    """Whether any number of last tokens can be forgotten: no window slides, no state recurs."""
    return bool(cache.layers) and all(type(layer) is GrowingLayer for layer in cache.layers)


def has_recurrent_states(cache: Cache) -> bool:
    """Whether a layer keeps a state of one size in place of keys and values."""
    return any(isinstance(layer, LinearAttentionCacheLayerMixin) for layer in cache.layers)


def cache_bytes(cache: Cache) -> int:
    """Bytes of the buffers that ``cache`` holds."""
    tensors = (tensor for layer in cache.layers for tensor in vars(layer).values())
    storages = [tensor.untyped_storage() for tensor in tensors if isinstance(tensor, torch.Tensor)]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


class LastPromptCache:
    """Keeps the token ids of the last prompt and reply, and their keys and values.

    What a new conversation does not share is given back to the system.

    Attributes:
        ids: tokens that ``cache`` holds.
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
        held = cache_bytes(cache)
        kept = common_prefix(known, ids[:-1]) if network.reuses_prefix else 0
        if kept < cache.get_seq_length():
            cache.crop(kept - cache.get_seq_length())
        if held - cache_bytes(cache) >= _WORTH_GIVING_BACK:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            trim_heap()
        return cache, kept

    def put(self, network: Network, cache: Cache, ids: list[int]) -> None:
        """See :class:`chatui.engine.model.PromptCache`."""
        # Steps that were captured on a cache's buffers serve the next prompt too.
        if network.reuses_prefix or getattr(cache, "steps", None):
            self.cache, self.ids = cache, ids


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """The number of equal tokens at the start of both."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count
