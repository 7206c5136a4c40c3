"""transformers' own forward over a preallocated cache, so that its step can be captured."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicSlidingWindowLayer, StaticLayer

from chatui.catalog.memory_need import cache_size
from chatui.engine.architectures.decoder.fixed_cache import (
    CachedReader,
    FixedCache,
)
from chatui.engine.architectures.decoder.transformers_decoder import on_one_device
from chatui.engine.cache import GrowingLayer, new_cache, resized_buffer
from chatui.engine.memory import available_bytes


class WindowedLayer(StaticLayer):  # type: ignore[misc]
    """A static cache layer, ``[1, heads, capacity, head_dim]``, of which a window is used.

    Args:
        position: int64 ``[1]``, shared by all layers and advanced after a step.

    Attributes:
        window: number of slots to attend to.
    """

    keys: Tensor
    values: Tensor

    def __init__(self, position: Tensor) -> None:
        super().__init__(max_cache_len=0)
        self.cumulative_length = position[0]
        self.window = 0

    def resize(self, capacity: int, used: int) -> None:
        """See :class:`~chatui.engine.architectures.decoder.fixed_cache.FixedLayer`."""
        self.max_cache_len = capacity
        if self.is_initialized:
            self.keys = resized_buffer(self.keys, capacity, used, zero_unused=True)
            self.values = resized_buffer(self.values, capacity, used, zero_unused=True)

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write ``[1, heads, new, head_dim]``; return the keys and values of the window."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        slots = torch.arange(key_states.shape[-2], device=self.device) + self.cumulative_length
        self.keys.index_copy_(2, slots, key_states)
        self.values.index_copy_(2, slots, value_states)
        return self.keys[:, :, : self.window], self.values[:, :, : self.window]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.window, 0


class TransformersStep(CachedReader):
    """A transformers model whose step is captured.

    Args:
        model: a model for which :func:`can_be_captured` is true.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model.get_input_embeddings().weight.device, windowed=True)
        self._model = model
        self._keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters

    def new_cache(self, window: int) -> FixedCache:
        """Return an empty cache for up to ``window`` tokens."""
        position = torch.zeros(1, dtype=torch.int64, device=self.device)
        layers = [WindowedLayer(position) for _ in new_cache(self._model.config, window).layers]
        return FixedCache(layers, position, window, windowed=True)

    def logits(
        self, ids: Tensor, slots: Tensor, cache: FixedCache, window: int, masked: bool, last: int
    ) -> Tensor:
        """See :meth:`CachedReader.logits`; transformers makes the mask."""
        for layer in cache.layers:
            layer.window = window
        output = self._model(
            ids[None],
            position_ids=slots[None],
            cache=Cache(layers=list(cache.layers)),
            use_cache=True,
            **({"logits_to_keep": last} if self._keeps_logits else {}),
        )
        logits: Tensor = output.logits[0, -last:]
        return logits


def can_be_captured(model: Any, window: int) -> bool:
    """True if transformers declares the model's step capturable, and all tokens fit the memory."""
    return (
        on_one_device(model)
        and type(model).__module__.startswith("transformers.models.")
        and bool(getattr(model, "_can_compile_fullgraph", False))
        and {"cache", "position_ids"} <= inspect.signature(model.forward).parameters.keys()
        and _can_keep_all_tokens(model, window)
    )


def _can_keep_all_tokens(model: Any, window: int) -> bool:
    """True if every layer can keep all tokens, including those outside a sliding window."""
    kinds = {type(layer) for layer in new_cache(model.config, window).layers}
    if kinds == {GrowingLayer}:
        return True
    size = cache_size(model.config.get_text_config(decoder=True).to_dict())
    kept = (size.per_token + size.sliding_per_token) * window * model.dtype.itemsize
    device = model.get_input_embeddings().weight.device
    return kinds <= {GrowingLayer, DynamicSlidingWindowLayer} and kept <= available_bytes(device)
