"""Compute the memory a model needs from its config, and the largest window that fits."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatui.errors import ChatuiError
from chatui.locales import say

WORKSPACE = 256 << 20
"""Bytes for activations, the allocator and one-time setup."""

LEAST_WINDOW = 2048
"""Smallest window in tokens that "auto" chooses; a model that has no room for it does not fit."""

SMALL_MODEL = 30_000_000
"""Parameters below which device "auto" chooses the CPU, which then decodes faster than a GPU.

On a GPU, launching the operations limits small models: on an H100 the embedded model of 6.6 million
parameters took 93 ms a token, on the CPU beside it 2.9 ms; even in a captured graph, models of 16
and 28 layers took 4.5 to 5.2 ms. A CPU reads 30 million numbers in float32 in about that time.
"""

_NOT_GROWING = ("linear_attention", "mamba", "conv", "moe", "mlp")
"""Layer types (``layer_types`` in transformers' configs) with a state of fixed size or none."""

_WINDOW_STEP = 256
_SPARE_DIVISOR = 16
"""Free memory divided by this is left to other programs."""


@dataclass(frozen=True)
class CacheSize:
    """The size of a KV cache, in numbers.

    Attributes:
        per_token: numbers per token in the layers that keep all tokens (keys and values).
        sliding_per_token: numbers per token in the layers with a sliding window.
        sliding_tokens: tokens in the sliding window.
    """

    per_token: int = 0
    sliding_per_token: int = 0
    sliding_tokens: int = 0

    def numbers(self, tokens: int) -> int:
        """Return the numbers in the cache of a conversation of ``tokens`` tokens."""
        return self.per_token * tokens + self.sliding_per_token * min(tokens, self.sliding_tokens)


NO_CACHE = CacheSize()


def cache_size(config: Mapping[str, Any]) -> CacheSize:
    """Return the cache size from a config.json, or from a transformers config as a dict."""
    text = config.get("text_config") or config

    def number(*names: str) -> int:
        values = map(text.get, names)
        return next((value for value in values if type(value) is int and value), 0)

    layers = number("num_hidden_layers", "num_layers", "n_layer", "n_layers")
    heads = number("num_attention_heads", "n_head", "n_heads", "attention_heads") or 1
    head_width = number("head_dim") or number("hidden_size", "n_embd", "d_model") // heads
    shares_one = text.get("multi_query") and not text.get("new_decoder_architecture")
    kept_heads = 1 if shares_one else number("num_key_value_heads", "num_kv_heads") or heads
    per_layer = 2 * kept_heads * head_width
    if number("kv_lora_rank"):
        # Multi-head latent attention keeps one compressed vector per token (DeepSeek-V2, 2.1).
        per_layer = number("kv_lora_rank") + number("qk_rope_head_dim")
    kinds = text.get("layer_types")
    if not isinstance(kinds, Sequence) or len(kinds) != layers:
        return CacheSize(layers * per_layer)
    growing = [kind for kind in map(str, kinds) if kind not in _NOT_GROWING]
    sliding = sum("sliding" in kind or "chunked" in kind for kind in growing)
    kept = number("sliding_window", "attention_chunk_size")
    return CacheSize((len(growing) - sliding) * per_layer, sliding * per_layer, kept)


@dataclass(frozen=True)
class MemoryNeed:
    """The memory that a model needs.

    Attributes:
        floats: number of floating point parameters.
        packed: bytes of all other weights, the same in any dtype.
        cache: size of its KV cache.
    """

    floats: int
    packed: int = 0
    cache: CacheSize = NO_CACHE

    def total(self, dtype_bytes: int, tokens: int) -> int:
        """Return the bytes of weights, a KV cache of ``tokens`` and workspace.

        Args:
            dtype_bytes: bytes per number.
        """
        return (self.floats + self.cache.numbers(tokens)) * dtype_bytes + self.packed + WORKSPACE


@dataclass(frozen=True)
class WindowRange:
    """The allowed context windows in tokens; ``least`` equals ``most`` if the user set one."""

    least: int
    most: int

    @classmethod
    def for_model(cls, requested: int | None, limit: int) -> WindowRange:
        """Return the range for a model.

        Args:
            requested: window requested by the user; None for the largest that fits.
            limit: the model's own limit.

        Raises:
            ChatuiError: the window is empty.
        """
        most = limit if requested is None else min(requested, limit)
        if most <= 0:
            raise ChatuiError(say("engine.no_context", limit=most))
        return cls(min(most, LEAST_WINDOW) if requested is None else most, most)

    def largest(self, fits: Callable[[int], bool]) -> int:
        """Return the largest window for which ``fits`` is true; ``least`` if there is none.

        Windows between both ends are tried in steps of 256 tokens.
        """
        if self.least == self.most or fits(self.most):
            return self.most
        windows = range(self.least + _WINDOW_STEP, self.most + 1, _WINDOW_STEP)
        larger = bisect_left(windows, True, key=lambda window: not fits(window))
        return self.least + larger * _WINDOW_STEP


@dataclass(frozen=True)
class MemoryFit:
    """A way to run a model in the available memory.

    Attributes:
        dtype_bytes: bytes per number.
        window: tokens.
        total: bytes of weights, cache and workspace.
        bits: 8 or 4 if the weights are quantised to fit, else 0.
    """

    dtype_bytes: int
    window: int
    total: int
    bits: int = 0


def best_fit(
    need: MemoryNeed, dtype_sizes: Sequence[int], window: WindowRange, room: int
) -> MemoryFit | None:
    """Return the first dtype that fits into ``room`` bytes with its largest window, or None.

    Args:
        dtype_sizes: bytes per number, the best first.
    """
    spared = room - room // _SPARE_DIVISOR
    for dtype_bytes in dtype_sizes:
        if need.total(dtype_bytes, window.least) <= room:
            tokens = window.largest(lambda tokens: need.total(dtype_bytes, tokens) <= spared)  # noqa: B023
            return MemoryFit(dtype_bytes, tokens, need.total(dtype_bytes, tokens))
    return None


def window_notes(requested: int | None, limit: int, window: int) -> tuple[str, ...]:
    """Return a note if the window differs from the requested one or from the model's own."""
    if requested is not None and requested > limit:
        return (say("engine.window_own", asked=requested, own=limit),)
    if requested is None and window < limit:
        return (say("engine.window_fitted", window=window, own=limit),)
    return ()
