"""A decoder-only transformer over the layers of a loaded model.

The layers are those that transformers loaded, with their adapters. The operations between them are
implemented here, with a third of transformers' number of operations. :class:`DecoderShape`
describes the differences between the LLaMA family, GPT-2, BLOOM, MOSS and ChatGLM-6B.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chatui.engine import kernel_support
from chatui.engine.architectures.decoder.causal_attention import CachedAttention, DecoderShape
from chatui.engine.architectures.decoder.fixed_cache import CachedReader, FixedCache, FixedLayer
from chatui.engine.architectures.decoder.joined_linear import Projection, norm_of, projection


class Stopped(Exception):
    """Ends a forward pass that is no longer wanted."""


@dataclass(frozen=True)
class DecoderBlock:
    """The layers of one block, with their adapters.

    Attributes:
        attention_norm, mlp_norm: norms before attention and before the MLP; ``mlp_norm`` is None if
            the MLP reads the same input as attention.
        qkv_proj: states -> queries, keys and values of all heads, concatenated.
        output_proj: attention's result -> states.
        up_proj, activation, down_proj: the MLP; ``up_proj`` gives the gate, if any, and the values,
            concatenated.
        head_norm: weights of the norm of queries and keys, ``[heads + key_heads, head_dim]``.
    """

    attention_norm: Projection
    qkv_proj: Projection
    output_proj: Projection
    mlp_norm: Projection | None
    up_proj: Projection
    activation: Callable[[Tensor], Tensor]
    down_proj: Projection
    head_norm: Tensor | None = None


class Decoder(CachedReader):
    """A decoder that reads the tokens of one sequence.

    Args:
        shape: its configuration.
        embed: ids and positions, each ``[rows]`` -> states ``[rows, hidden]``.
        blocks: the blocks, in order.
        last_norm, head: the modules after them; the cache gets the dtype and device of the norm's
            weight, which is never packed.
        angles: positions ``[rows]`` -> cosines and sines of the rotation of queries and keys, each
            ``[rows, …, rotary_dim]``, or half of it without the repeated angles; None for no
            rotation.
        slopes: ALiBi slopes ``[heads]`` (arXiv:2108.12409); None for no ALiBi.
    """

    def __init__(
        self,
        shape: DecoderShape,
        embed: Callable[[Tensor, Tensor], Tensor],
        blocks: Sequence[DecoderBlock],
        last_norm: Any,
        head: Any,
        angles: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None,
        slopes: Tensor | None = None,
    ) -> None:
        self._like = last_norm.weight.detach()
        device = self._like.device
        super().__init__(device, windowed=device.type == "cuda")
        self.shape = shape
        self._embed = embed
        self._blocks = blocks
        self._last_norm = norm_of(last_norm)
        self._head = projection(head)
        self._angles = angles
        self._slopes = None if slopes is None else slopes.to(device, torch.float32)
        select_kernel = kernel_support.attention_kernel if slopes is None else lambda *_: None
        self._attend = CachedAttention(shape, device, select_kernel)
        self._stop_wanted: Callable[[], bool] = lambda: False

    def new_cache(self, window: int) -> FixedCache:
        """Return an empty cache for up to ``window`` tokens."""
        empty = self._like.new_empty((self.shape.key_heads, 0, self.shape.head_dim))
        layers = [FixedLayer(empty, empty, zero_unused=self.windowed) for _ in self._blocks]
        position = torch.zeros(1, dtype=torch.int64, device=self.device)
        return FixedCache(layers, position, window, windowed=self.windowed)

    @contextmanager
    def stopped_by(self, stop_wanted: Callable[[], bool]) -> Iterator[None]:
        """Let a stop raise :class:`Stopped` before a block; the cache keeps the tokens before.

        A ``windowed`` decoder is fast and cannot be stopped, because its steps are captured.
        """
        before = self._stop_wanted
        self._stop_wanted = before if self.windowed else stop_wanted
        try:
            yield
        finally:
            self._stop_wanted = before

    def logits(
        self, ids: Tensor, slots: Tensor, cache: FixedCache, window: int, masked: bool, last: int
    ) -> Tensor:
        """See :meth:`CachedReader.logits`."""
        states = self._embed(ids, slots)
        rotation = mask = None
        if self._angles is not None:
            rotation = self._attend.rotation_factors(*self._angles(slots))
        if masked or (len(ids) > 1 and (cache.bidirectional or self._slopes is not None)):
            seen = slots[:, None]
            if cache.bidirectional:
                seen = seen.clamp(min=cache.bidirectional - 1)
            mask = torch.arange(window, device=self.device) <= seen
        if self._slopes is not None:
            mask = self._alibi_bias(mask, window)
        for block, layer in zip(self._blocks, cache.layers, strict=True):
            if self._stop_wanted():
                raise Stopped
            normed = block.attention_norm(states)
            attended = self._attend(
                block.qkv_proj(normed), rotation, block.head_norm, slots, layer, window, mask
            )
            states = self._add_residual(states, normed, block.output_proj(attended))
            normed = normed if block.mlp_norm is None else block.mlp_norm(states)
            inner = block.up_proj(normed)
            if self.shape.gated:
                gate, inner = inner.chunk(2, dim=-1)
                inner = block.activation(gate) * inner
            else:
                inner = block.activation(inner)
            states = self._add_residual(states, normed, block.down_proj(inner))
        return self._head(self._last_norm(states[-last:]))

    def _add_residual(self, states: Tensor, normed: Tensor, added: Tensor) -> Tensor:
        """Add a layer's result to the states, or to their scaled norm ``normed``."""
        if self.shape.normed_residual_scale is None:
            return states + added
        return torch.add(added, normed, alpha=self.shape.normed_residual_scale)

    def _alibi_bias(self, mask: Tensor | None, window: int) -> Tensor:
        """Return ALiBi's bias on the scores, ``[heads, rows, window]``, -inf for masked keys.

        It is the key's position times the head's slope, rounded as in transformers.
        """
        assert self._slopes is not None
        key_positions = torch.arange(window, device=self.device)
        bias = (self._slopes[:, None, None] * key_positions).to(self._like.dtype)
        return bias if mask is None else bias.masked_fill(~mask, -torch.inf)
