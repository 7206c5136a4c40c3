"""transformers' own forward over a cache of fixed size, so that its step can be captured."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicSlidingWindowLayer, StaticLayer

from chatui.catalog.memory_need import cache_size
from chatui.engine.architectures.decoder.captured_step import MIN_WINDOW, read_captured
from chatui.engine.architectures.decoder.fixed_cache import FixedCache, resized_buffer
from chatui.engine.architectures.decoder.transformers_decoder import on_one_device
from chatui.engine.cache import GrowingLayer, new_cache
from chatui.engine.memory import available_bytes


class WindowedLayer(StaticLayer):  # type: ignore[misc]
    """transformers' static layer, ``[1, heads, capacity, head width]``, over a window of it.

    Args:
        position: ``[1]`` int64, which all layers share; it is moved on when a step is over.

    Attributes:
        window: slots that are looked at.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, position: Tensor) -> None:
        super().__init__(max_cache_len=0)
        self.cumulative_length = position[0]
        self.window = 0

    def resize(self, capacity: int, used: int) -> None:
        """See :class:`~chatui.engine.architectures.decoder.fixed_cache.Layer`."""
        self.max_cache_len = capacity
        if self.is_initialized:
            self.keys = resized_buffer(self.keys, capacity, used, clean=True)
            self.values = resized_buffer(self.values, capacity, used, clean=True)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write ``[1, heads, new, head width]`` at the position; all keys and values in sight."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        slots = torch.arange(key_states.shape[-2], device=self.device) + self.cumulative_length
        self.keys.index_copy_(2, slots, key_states)
        self.values.index_copy_(2, slots, value_states)
        return self.keys[:, :, : self.window], self.values[:, :, : self.window]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.window, 0


class TransformersStep:
    """Reads tokens of one sequence; for the methods, see
    :class:`~chatui.engine.architectures.decoder.decoder.Decoder`.

    Args:
        model: one that :func:`can_be_captured`.
    """

    windowed = True

    def __init__(self, model: Any) -> None:
        self._model = model
        self._device = model.get_input_embeddings().weight.device
        self._keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters

    def new_cache(self, window: int) -> FixedCache:
        """An empty cache for up to ``window`` tokens."""
        position = torch.zeros(1, dtype=torch.int64, device=self._device)
        count = len(new_cache(self._model.config, window).layers)
        layers = [WindowedLayer(position) for _ in range(count)]
        return FixedCache(layers, position, window, MIN_WINDOW)

    def read(self, ids: Sequence[int | Tensor], cache: FixedCache) -> Tensor:
        """Read more tokens; returns the logits of the next, ``[vocabulary]``."""
        if len(ids) == 1:
            return read_captured(self.read_one, ids[0], cache)
        return self.read_all(ids, cache, last=1)[0]

    def read_all(self, ids: Sequence[int | Tensor], cache: FixedCache, last: int) -> Tensor:
        """Read more tokens; returns the logits after each of the last, ``[last, vocabulary]``."""
        end = cache.length + len(ids)
        cache.reserve(end)
        logits = self._logits(torch.tensor(ids, device=self._device), cache, end, last)
        cache.move_to(end)
        return logits

    def read_one(self, ids: Tensor, cache: FixedCache, window: int) -> Tensor:
        """Read the token ``ids`` ``[1]`` at the cache's position, which moves on."""
        logits = self._logits(ids, cache, window, 1)[0]
        cache.position.add_(1)
        return logits

    def _logits(self, ids: Tensor, cache: FixedCache, window: int, last: int) -> Tensor:
        for layer in cache.layers:
            layer.window = window
        positions = torch.arange(len(ids), device=self._device) + cache.position
        output = self._model(
            ids[None],
            position_ids=positions[None],
            cache=Cache(layers=list(cache.layers)),
            use_cache=True,
            **({"logits_to_keep": last} if self._keeps_logits else {}),
        )
        logits: Tensor = output.logits[0, -last:]
        return logits


def can_be_captured(model: Any, window: int) -> bool:
    """Whether transformers says that a step does the same for every token, and all tokens stay."""
    return (
        on_one_device(model)
        and type(model).__module__.startswith("transformers.models.")
        and bool(getattr(model, "_can_compile_fullgraph", False))
        and {"cache", "position_ids"} <= inspect.signature(model.forward).parameters.keys()
        and _fits_whole(model, window)
    )


def _fits_whole(model: Any, window: int) -> bool:
    """Whether every layer can keep all tokens; there is more to keep where a window slides."""
    kinds = {type(layer) for layer in new_cache(model.config, window).layers}
    if kinds == {GrowingLayer}:
        return True
    size = cache_size(model.config.get_text_config(decoder=True).to_dict())
    kept = (size.per_token + size.sliding_per_token) * window * model.dtype.itemsize
    device = model.get_input_embeddings().weight.device
    return kinds <= {GrowingLayer, DynamicSlidingWindowLayer} and kept <= available_bytes(device)
