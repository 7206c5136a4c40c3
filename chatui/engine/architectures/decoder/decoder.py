"""A decoder-only transformer over the layers of a loaded model.

The layers are those that transformers loaded, with their adapters. The operations between them are
implemented here, with a third of transformers' number of operations. :class:`DecoderShape`
describes the differences between the LLaMA family, GPT-2, BLOOM, MOSS and ChatGLM-6B.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from chatui.engine import kernel_support
from chatui.engine.architectures.decoder.captured_step import (
    MIN_WINDOW,
    read_captured,
)
from chatui.engine.architectures.decoder.causal_attention import CachedAttention, DecoderShape
from chatui.engine.architectures.decoder.fixed_cache import FixedCache, FixedLayer
from chatui.engine.architectures.decoder.joined_linear import Projection
from chatui.engine.cache import GROWTH_STEP

Norm: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DecoderBlock:
    """The layers of one block, with their adapters.

    Attributes:
        attention_norm, mlp_norm: norms before attention and before the MLP; ``mlp_norm`` is None if
            the MLP reads the same input as attention.
        qkv_proj: states -> queries, keys and values of all heads, concatenated.
        head_norm: weights of the norm of queries and keys, ``[heads + key_heads, head_dim]``.
        output_proj: attention's result -> states.
        up_proj, activation, down_proj: the MLP; ``up_proj`` gives the gate, if any, and the values,
            concatenated.
        post_attention_norm, post_mlp_norm: norms of the results, before they are added to the
            states; None for none.
    """

    attention_norm: Norm
    qkv_proj: Projection
    head_norm: Tensor | None
    output_proj: Projection
    mlp_norm: Norm | None
    up_proj: Projection
    activation: Callable[[Tensor], Tensor]
    down_proj: Projection
    post_attention_norm: Norm | None = None
    post_mlp_norm: Norm | None = None


class Decoder:
    """A decoder that reads the tokens of one sequence.

    Args:
        shape: its configuration.
        embed: ids and positions, each ``[rows]`` -> states ``[rows, hidden]``.
        angles: positions ``[rows]`` -> cosines and sines of the rotation of queries and keys, each
            ``[rows, …, rotary_dim]``, or half of it without the repeated angles; None for no
            rotation.
        blocks: the blocks, in order.
        last_norm, head: the last states -> logits ``[rows, vocabulary]``.
        like: the last norm's weight, which is never packed; the cache gets its dtype and device.
        slopes: ALiBi slopes ``[heads]`` (arXiv:2108.12409); None for no ALiBi.

    Attributes:
        windowed: whether a step attends to a whole window of the cache and masks the unused slots,
            as a captured step must; otherwise it attends to the used slots only.
    """

    def __init__(
        self,
        shape: DecoderShape,
        embed: Callable[[Tensor, Tensor], Tensor],
        angles: Callable[[Tensor], tuple[Tensor, Tensor]] | None,
        blocks: Sequence[DecoderBlock],
        last_norm: Norm,
        head: Projection,
        like: Tensor,
        slopes: Tensor | None = None,
    ) -> None:
        self.shape = shape
        self._embed = embed
        self._angles = angles
        self._blocks = blocks
        self._last_norm = last_norm
        self._head = head
        self._like = like
        self._slopes = None if slopes is None else slopes.to(like.device, torch.float32)
        self.windowed = like.device.type == "cuda"
        select_kernel = kernel_support.attention_kernel if slopes is None else lambda *_: None
        self._attend = CachedAttention(shape, like.device, select_kernel)

    def new_cache(self, window: int) -> FixedCache:
        """Return an empty cache for up to ``window`` tokens."""
        empty = self._like.new_empty((self.shape.key_heads, 0, self.shape.head_dim))
        return FixedCache(
            [FixedLayer(empty, empty, zero_unused=self.windowed) for _ in self._blocks],
            torch.zeros(1, dtype=torch.int64, device=self._like.device),
            window,
            MIN_WINDOW if self.windowed else GROWTH_STEP,
        )

    def read(self, ids: Sequence[int | Tensor], cache: FixedCache) -> Tensor:
        """Read more tokens; return the logits of the next token, ``[vocabulary]``.

        A single token may be a tensor on the device, int64 ``[]``. If ``windowed``, the host does
        not wait for it.
        """
        if len(ids) == 1:
            return self._step(ids[0], cache)
        return self.read_all(ids, cache, last=1)[0]

    def read_all(
        self, ids: Sequence[int | Tensor], cache: FixedCache, last: int, bidirectional: int = 0
    ) -> Tensor:
        """Read more tokens; return the logits after each of the last ones, ``[last, vocabulary]``.

        Args:
            last: number of last tokens to compute logits for.
            bidirectional: number of first tokens with bidirectional attention.
        """
        start, end = cache.length, cache.length + len(ids)
        cache.reserve(end)
        device = self._like.device
        positions = torch.arange(start, end, device=device)
        mask = None
        if start or bidirectional or self._slopes is not None:
            mask = torch.arange(end, device=device) <= positions[:, None].clamp(
                min=bidirectional - 1
            )
        tokens = torch.tensor(ids, device=device)
        logits = self._logits(tokens, positions, cache, end, mask, last)
        cache.move_to(end)
        return logits

    def _step(self, token: int | Tensor, cache: FixedCache) -> Tensor:
        if self.windowed:
            return read_captured(self.read_one, token, cache)
        needed = cache.length + 1
        cache.reserve(needed)
        ids = torch.tensor([token], device=self._like.device)
        logits = self.read_one(ids, cache, needed, masked=False)
        cache.length = needed
        return logits

    def read_one(
        self, ids: Tensor, cache: FixedCache, window: int, *, masked: bool = True
    ) -> Tensor:
        """Read the token ``ids`` ``[1]`` and advance the cache's position; return the logits.

        So that the step can be captured, the operations depend on no host value except ``window``.
        """
        mask = None
        if masked:
            mask = (torch.arange(window, device=ids.device) <= cache.position)[None]
        logits = self._logits(ids, cache.position, cache, window, mask)[0]
        cache.position.add_(1)
        return logits

    def _logits(
        self,
        ids: Tensor,
        positions: Tensor,
        cache: FixedCache,
        window: int,
        mask: Tensor | None,
        last: int = 1,
    ) -> Tensor:
        states = self._embed(ids, positions)
        rotation = None
        if self._angles is not None:
            rotation = self._attend.rotation_factors(*self._angles(positions))
        if self._slopes is not None:
            mask = self._alibi_bias(mask, window)
        for block, layer in zip(self._blocks, cache.layers, strict=True):
            normed = block.attention_norm(states)
            attended = self._attend(
                block.qkv_proj(normed), rotation, block.head_norm, positions, layer, window, mask
            )
            added = block.output_proj(attended)
            added = added if block.post_attention_norm is None else block.post_attention_norm(added)
            states = self._add_residual(states, normed, added)
            normed = normed if block.mlp_norm is None else block.mlp_norm(states)
            inner = block.up_proj(normed)
            if self.shape.gated:
                gate, inner = inner.chunk(2, dim=-1)
                inner = block.activation(gate) * inner
            else:
                inner = block.activation(inner)
            added = block.down_proj(inner)
            added = added if block.post_mlp_norm is None else block.post_mlp_norm(added)
            states = self._add_residual(states, normed, added)
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
        key_positions = torch.arange(window, device=self._like.device)
        bias = (self._slopes[:, None, None] * key_positions).to(self._like.dtype)
        return bias if mask is None else bias.masked_fill(~mask, -torch.inf)
