"""The memory that a model needs, from its config, and the largest window that fits."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chatui.errors import ChatuiError
from chatui.locales import say

WORKSPACE = 256 << 20
"""Bytes for activations, the allocator and what a first call sets up."""

LEAST_WINDOW = 2048
"""Tokens of the smallest window that "auto" chooses; a model with room for less does not fit."""

SMALL_MODEL = 30_000_000
"""Parameters: "auto" leaves a smaller model on the CPU, where it decodes faster than on a GPU.

On a GPU a token costs the time to launch its operations, however small: on an H100 the embedded
model of 6.6 million took 93 ms a token, on the CPU beside it 2.9; even in a captured graph a model
of 16 or 28 layers took 4.5 to 5.2 ms. A CPU reads 30 million numbers in float32 in about that time.
"""

_NOT_GROWING = ("linear_attention", "mamba", "conv", "moe", "mlp")
"""Kinds of layers (``layer_types`` of transformers' configs) whose state has one size, or none."""

_STEP = 256
_SPARE_PART = 16
"""One such part of the free memory is left to other programs."""


@dataclass(frozen=True)
class CacheSize:
    """How many numbers a KV cache holds.

    Attributes:
        per_token: in the layers that keep all tokens: keys and values of one.
        sliding_per_token: likewise in the layers that keep the latest tokens alone.
        sliding_tokens: how many those are.
    """

    per_token: int = 0
    sliding_per_token: int = 0
    sliding_tokens: int = 0

    def numbers(self, tokens: int) -> int:
        """Of a conversation of so many tokens."""
        return self.per_token * tokens + self.sliding_per_token * min(tokens, self.sliding_tokens)


NO_CACHE = CacheSize()


def cache_size(config: Mapping[str, Any]) -> CacheSize:
    """Count what a model's config.json, or transformers' own form of it, says."""
    text = config.get("text_config") or config

    def number(*names: str) -> int:
        return next((value for name in names if (value := text.get(name)) and _is_int(value)), 0)

    layers = number("num_hidden_layers", "num_layers", "n_layer", "n_layers")
    heads = number("num_attention_heads", "n_head", "n_heads", "attention_heads") or 1
    head_width = number("head_dim") or number("hidden_size", "n_embd", "d_model") // heads
    shares_one = text.get("multi_query") and not text.get("new_decoder_architecture")
    kept_heads = 1 if shares_one else number("num_key_value_heads", "num_kv_heads") or heads
    per_layer = 2 * kept_heads * head_width
    if number("kv_lora_rank"):
        # Multi-head latent attention keeps one compressed vector a token (DeepSeek-V2, 2.1).
        per_layer = number("kv_lora_rank") + number("qk_rope_head_dim")
    kinds = text.get("layer_types")
    if not isinstance(kinds, Sequence) or len(kinds) != layers:
        return CacheSize(layers * per_layer)
    growing = [kind for kind in map(str, kinds) if kind not in _NOT_GROWING]
    sliding = sum("sliding" in kind or "chunked" in kind for kind in growing)
    kept = number("sliding_window", "attention_chunk_size")
    return CacheSize((len(growing) - sliding) * per_layer, sliding * per_layer, kept)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True)
class MemoryNeed:
    """What a model takes.

    Attributes:
        floats: floating point parameters.
        packed: bytes of all other weights, which no dtype changes.
        cache: of its conversations.
    """

    floats: int
    packed: int = 0
    cache: CacheSize = NO_CACHE

    def total(self, dtype_bytes: int, tokens: int) -> int:
        """Bytes at ``dtype_bytes`` bytes a number: weights, a KV cache of ``tokens``, workspace."""
        return (self.floats + self.cache.numbers(tokens)) * dtype_bytes + self.packed + WORKSPACE


@dataclass(frozen=True)
class WindowRange:
    """The range of a window in tokens, prompt and reply together; one value if the user set it."""

    least: int
    most: int

    @classmethod
    def for_model(cls, asked: int | None, own: int) -> WindowRange:
        """
        Args:
            asked: by the user; None for as many as fit.
            own: the model's.

        Raises:
            ChatuiError: that is none.
        """
        most = own if asked is None else min(asked, own)
        if most <= 0:
            raise ChatuiError(say("engine.no_context", limit=most))
        return cls(min(most, LEAST_WINDOW) if asked is None else most, most)

    def largest(self, fits: Callable[[int], bool]) -> int:
        """The largest window for which ``fits`` holds, in whole steps; the least if none does."""
        if self.least == self.most or fits(self.most):
            return self.most
        windows = range(self.least + _STEP, self.most + 1, _STEP)
        larger = bisect_left(windows, True, key=lambda window: not fits(window))
        return self.least + larger * _STEP


@dataclass(frozen=True)
class MemoryFit:
    """How a model fits: bytes of each number, the window in tokens, and bytes of it all.

    ``bits`` is 8 or 4 where its weights are quantised for that, 0 if they are not.
    """

    dtype_bytes: int
    window: int
    total: int
    bits: int = 0


def best_fit(
    need: MemoryNeed, dtype_sizes: Sequence[int], window: WindowRange, room: int
) -> MemoryFit | None:
    """Return the first of ``dtype_sizes`` that fits into ``room`` bytes, with its largest window.

    Args:
        dtype_sizes: bytes of a number, the best first.
    """
    spared = room - room // _SPARE_PART
    for dtype_bytes in dtype_sizes:
        if need.total(dtype_bytes, window.least) <= room:
            tokens = window.largest(lambda tokens: need.total(dtype_bytes, tokens) <= spared)  # noqa: B023
            return MemoryFit(dtype_bytes, tokens, need.total(dtype_bytes, tokens))
    return None


def window_notes(asked: int | None, own: int, window: int) -> tuple[str, ...]:
    """Notes for a window that differs from the requested one or from the model's own."""
    if asked is not None and asked > own:
        return (say("engine.window_own", asked=asked, own=own),)
    if asked is None and window < own:
        return (say("engine.window_fitted", window=window, own=own),)
    return ()
