"""A decoder in the plain: a prompt or one token in, the logits of the next token out.

Its layers are those that transformers loaded, adapters included; only what stands between them is
done here, with a third of the operations. The forms of the LLaMA line, of GPT-2, BLOOM, MOSS and
ChatGLM-6B are values of :class:`DecoderShape`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from chatui.engine.architectures.decoder.captured_step import (
    LEAST_WINDOW,
    read_captured,
)
from chatui.engine.architectures.decoder.fixed_cache import FixedCache, FixedLayer
from chatui.engine.architectures.decoder.joined_linear import Projection
from chatui.engine.cache import STEP

Norm: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DecoderShape:
    """What differs between decoders, apart from their weights.

    Attributes:
        heads, key_heads: of queries, and of keys and values; groups of queries share a key.
        width: numbers of a head.
        scale: factor on the products of queries and keys.
        rotary: whether number ``i`` turns together with ``i + half`` or with its neighbour; "rows"
            is "halves" in each half of a head, which has a position of its own; None where the
            position is added to the embedding instead.
        rotary_width: numbers of a head that turn; the first ones.
        norm_eps: of the norm of queries and keys, where a block has its weights.
        gated: whether the inner layer gives a gate and what it lets through.
        normed_part: factor on a norm's output, to which then is added what was made of it; None if
            that is added to the states before the norm.
    """

    heads: int
    key_heads: int
    width: int
    scale: float
    rotary: Literal["halves", "pairs", "rows"] | None
    rotary_width: int
    norm_eps: float
    gated: bool
    normed_part: float | None = None


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
        angles: positions ``[rows]`` -> cosines and sines, each ``[rows, …, rotary_width]``, of the
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
        half = shape.rotary_width // 2
        grids = {"halves": (2, half), "pairs": (half, 2), "rows": (2, 2, half // 2)}
        self._grid = grids[shape.rotary or "halves"]
        self._axis = -1 if shape.rotary == "pairs" else -2
        self._turning = half // 2 if shape.rotary == "rows" else half

    def new_cache(self, window: int) -> FixedCache:
        """An empty cache for up to ``window`` tokens."""
        empty = self._like.new_empty((self.shape.key_heads, 0, self.shape.width))
        return FixedCache(
            [FixedLayer(empty, empty, clean=self.windowed) for _ in self._blocks],
            torch.zeros(1, dtype=torch.int64, device=self._like.device),
            window,
            LEAST_WINDOW if self.windowed else STEP,
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
            return read_captured(self.one, token, cache)
        needed = cache.length + 1
        cache.reserve(needed)
        ids = torch.tensor([token], device=self._like.device)
        logits = self.one(ids, cache, needed, masked=False)
        cache.length = needed
        return logits

    def one(self, ids: Tensor, cache: FixedCache, window: int, *, masked: bool = True) -> Tensor:
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
        turn = None if self._angles is None else self._signed(*self._angles(positions))
        if self._slopes is not None:
            mask = self._biased(mask, window)
        for block, layer in zip(self._blocks, cache.layers, strict=True):
            normed = block.attention_norm(states)
            added = block.output(self._attend(block, normed, turn, positions, layer, window, mask))
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
        if self.shape.normed_part is None:
            return states + added
        return torch.add(added, normed, alpha=self.shape.normed_part)

    def _attend(
        self,
        block: DecoderBlock,
        normed: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        positions: Tensor,
        layer: FixedLayer,
        window: int,
        mask: Tensor | None,
    ) -> Tensor:
        """What the queries see, ``[rows, heads · width]``; keys and values are kept."""
        shape = self.shape
        rows = normed.shape[0]
        joint = block.joint(normed).view(rows, -1, shape.width)
        turning, values = joint[:, : -shape.key_heads], joint[:, -shape.key_heads :]
        if block.head_norm is not None:
            normed = functional.rms_norm(turning, (shape.width,), eps=shape.norm_eps)
            turning = normed * block.head_norm
        if turn is not None:
            turning = self._turned(turning, *turn)
        queries, keys = turning[:, : shape.heads], turning[:, shape.heads :]
        layer.keys.index_copy_(1, positions, keys.transpose(0, 1))
        layer.values.index_copy_(1, positions, values.transpose(0, 1))
        seen = attention(
            queries, layer.keys[:, :window], layer.values[:, :window], mask, shape.scale
        )
        return seen.view(rows, -1)

    def _biased(self, mask: Tensor | None, window: int) -> Tensor:
        """What is added to the products, ``[heads, rows, window]``: the places of the keys, times a
        head's slope, rounded as transformers rounds them; -inf where ``mask`` hides one.
        """
        assert self._slopes is not None
        places = torch.arange(window, device=self._like.device)
        bias = (self._slopes[:, None, None] * places).to(self._like.dtype)
        return bias if mask is None else bias.masked_fill(~mask, -torch.inf)

    def _signed(self, cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for each number of a head, ``[rows, 1, rotary_width]``.

        transformers gives those of all angles twice, one row behind the other. Of two numbers that
        turn together the first takes its sine negative.
        """
        axis = self._axis
        cosine = cosines[..., : self._turning].unsqueeze(1)
        sine = sines[..., : self._turning].unsqueeze(1)
        return (
            torch.stack((cosine, cosine), dim=axis).flatten(2),
            torch.stack((-sine, sine), dim=axis).flatten(2),
        )

    def _turned(self, numbers: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Rotary positions (arXiv:2104.09864) on ``[rows, heads, width]``."""
        part = numbers[..., : self.shape.rotary_width]
        swapped = part.reshape(*part.shape[:2], *self._grid).flip(self._axis).flatten(2)
        turned = (part * cosines + swapped * sines).to(numbers.dtype)
        if self.shape.rotary_width == self.shape.width:
            return turned
        return torch.cat((turned, numbers[..., self.shape.rotary_width :]), dim=-1)


def attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float
) -> Tensor:
    """Causal attention of the last tokens of a sequence.

    Args:
        queries: ``[rows, heads, width]``.
        keys, values: ``[key heads, window, width]``.
        mask: ``[rows, window]``, True where a query sees, or ``[heads, rows, window]``, which is
            added to the products; None if the queries are all of the sequence, or one that sees the
            whole window.
        scale: factor on the products.

    Returns:
        ``[rows, heads, width]``.
    """
    rows, heads, width = queries.shape
    groups = heads // keys.shape[0]
    attend = functional.scaled_dot_product_attention
    if rows == 1:
        # The queries of a group share their keys, as if they were rows.
        grouped = queries.reshape(1, keys.shape[0], groups, width)
        return attend(grouped, keys[None], values[None], mask, scale=scale).view(1, heads, width)
    shared = groups > 1
    if shared and mask is not None and queries.device.type == "cuda":
        # With a mask CUDA's quick kernels want a key for each query.
        keys, values = (each.repeat_interleave(groups, dim=0) for each in (keys, values))
        shared = False
    seen = attend(
        queries.transpose(0, 1)[None], keys[None], values[None], mask,
        is_causal=mask is None, scale=scale, enable_gqa=shared,
    )  # fmt: skip
    return seen[0].transpose(0, 1).contiguous()
