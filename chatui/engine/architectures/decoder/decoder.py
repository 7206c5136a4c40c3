"""A decoder in the plain: a prompt or one token in, the logits of the next token out.

Its layers are those that transformers loaded, adapters included; only what stands between them is
done here, with a third of the operations. The forms of the LLaMA line, of GPT-2, BLOOM, MOSS and
ChatGLM-6B are values of :class:`DecoderShape`.
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
    """The parts of one block, adapters included.

    Attributes:
        attention_norm, inner_norm: before attention, before the inner layers; None if these read
            what attention reads, and both are added at once.
        joint: states -> queries, keys and values of all heads, side by side.
        head_norm: weights of the norm of queries and keys, ``[heads + key_heads, width]``.
        output: what attention saw -> states.
        inner, activation, outer: the inner layers; ``inner`` gives gate and values side by side.
        output_norm, outer_norm: on what is added to the states; None for none.
    """

    attention_norm: Norm
    joint: Projection
    head_norm: Tensor | None
    output: Projection
    inner_norm: Norm | None
    inner: Projection
    activation: Callable[[Tensor], Tensor]
    outer: Projection
    output_norm: Norm | None = None
    outer_norm: Norm | None = None


class Decoder:
    """Reads tokens of one sequence.

    Args:
        shape: its form.
        embed: ids and positions, each ``[rows]`` -> states ``[rows, hidden]``.
        angles: positions ``[rows]`` -> cosines and sines, each ``[rows, …, rotary_dim]``, of the
            angles by which queries and keys turn; None if they do not. Angles that stand twice in
            a row are read once.
        blocks: in order.
        last_norm, head: the last states -> logits ``[rows, vocabulary]``.
        like: the last norm's weight, which nobody packs; keys and values get its dtype and device.
        slopes: ``[heads]``, by which a key's place counts for a head (ALiBi, arXiv:2108.12409);
            None if it does not.

    Attributes:
        windowed: whether a step looks at a whole window of the cache and masks what is not yet
            written, as a captured one must; else only at what is there.
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
        kernel = kernel_support.attention_kernel if slopes is None else lambda *_: None
        self._attend = CachedAttention(shape, like.device, kernel)

    def new_cache(self, window: int) -> FixedCache:
        """An empty cache for up to ``window`` tokens."""
        empty = self._like.new_empty((self.shape.key_heads, 0, self.shape.head_dim))
        return FixedCache(
            [FixedLayer(empty, empty, clean=self.windowed) for _ in self._blocks],
            torch.zeros(1, dtype=torch.int64, device=self._like.device),
            window,
            MIN_WINDOW if self.windowed else GROWTH_STEP,
        )

    def read(self, ids: Sequence[int | Tensor], cache: FixedCache) -> Tensor:
        """Read more tokens; returns the logits of the next, ``[vocabulary]``.

        A single one may be int64 ``[]`` on the device; where ``windowed``, it is not waited for.
        """
        if len(ids) == 1:
            return self._step(ids[0], cache)
        return self.read_all(ids, cache, last=1)[0]

    def read_all(
        self, ids: Sequence[int | Tensor], cache: FixedCache, last: int, seen_by_all: int = 0
    ) -> Tensor:
        """Read more tokens; returns the logits after each of the last, ``[last, vocabulary]``.

        Args:
            seen_by_all: so many of the first tokens see, and are seen, in both directions.
        """
        start, end = cache.length, cache.length + len(ids)
        cache.reserve(end)
        device = self._like.device
        positions = torch.arange(start, end, device=device)
        mask = None
        if start or seen_by_all or self._slopes is not None:
            mask = torch.arange(end, device=device) <= positions[:, None].clamp(min=seen_by_all - 1)
        read = torch.tensor(ids, device=device)
        logits = self._logits(read, positions, cache, end, mask, last)
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
        """Read the token ``ids`` ``[1]`` at the cache's position, which moves on.

        Nothing here depends on values that only the host knows, apart from ``window``.
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
        turn = None if self._angles is None else self._attend.signed(*self._angles(positions))
        if self._slopes is not None:
            mask = self._biased(mask, window)
        for block, layer in zip(self._blocks, cache.layers, strict=True):
            normed = block.attention_norm(states)
            seen = self._attend(
                block.joint(normed), turn, block.head_norm, positions, layer, window, mask
            )
            added = block.output(seen)
            added = added if block.output_norm is None else block.output_norm(added)
            states = self._sum(states, normed, added)
            normed = normed if block.inner_norm is None else block.inner_norm(states)
            inner = block.inner(normed)
            if self.shape.gated:
                gate, inner = inner.chunk(2, dim=-1)
                inner = block.activation(gate) * inner
            else:
                inner = block.activation(inner)
            added = block.outer(inner)
            added = added if block.outer_norm is None else block.outer_norm(added)
            states = self._sum(states, normed, added)
        return self._head(self._last_norm(states[-last:]))

    def _sum(self, states: Tensor, normed: Tensor, added: Tensor) -> Tensor:
        """The states with what was made of ``normed``, their norm."""
        if self.shape.normed_residual_scale is None:
            return states + added
        return torch.add(added, normed, alpha=self.shape.normed_residual_scale)

    def _biased(self, mask: Tensor | None, window: int) -> Tensor:
        """What is added to the products, ``[heads, rows, window]``: the places of the keys, times a
        head's slope, rounded as transformers rounds them; -inf where ``mask`` hides one.
        """
        assert self._slopes is not None
        places = torch.arange(window, device=self._like.device)
        bias = (self._slopes[:, None, None] * places).to(self._like.dtype)
        return bias if mask is None else bias.masked_fill(~mask, -torch.inf)
