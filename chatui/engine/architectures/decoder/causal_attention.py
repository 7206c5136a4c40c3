"""Queries, keys and values of all heads -> what the queries see, for every form of decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from chatui.engine import kernel_support
from chatui.engine.architectures.decoder.fixed_cache import FixedLayer


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
        rotary_dim: numbers of a head that turn; the first ones.
        norm_eps: of the norm of queries and keys, where a block has its weights.
        gated: whether the inner layer gives a gate and what it lets through.
        normed_residual_scale: factor on the norm's output that the residual is taken from
            (ChatGLM-6B); None takes the residual from the states before the norm.
    """

    heads: int
    key_heads: int
    head_dim: int
    scale: float
    rotary: Literal["halves", "pairs", "rows"] | None
    rotary_dim: int
    norm_eps: float
    gated: bool
    normed_residual_scale: float | None = None


class CachedAttention:
    """Rotary positions, cache and softmax.

    Args:
        kernel: selects the Triton kernel. A decoder with ALiBi passes a function that returns None,
            because the kernel supports no bias.
    """

    def __init__(
        self,
        shape: DecoderShape,
        device: torch.device,
        kernel: Callable[..., ModuleType | None] = kernel_support.attention_kernel,
    ) -> None:
        self._shape = shape
        self._kernel = kernel
        half = shape.rotary_dim // 2
        grids = {"halves": (2, half), "pairs": (half, 2), "rows": (2, 2, half // 2)}
        self._grid = grids[shape.rotary or "halves"]
        self._axis = -1 if shape.rotary == "pairs" else -2
        self._turning = half // 2 if shape.rotary == "rows" else half
        places = torch.arange(shape.rotary_dim, dtype=torch.int32, device=device)
        self._partner = self._swapped(places[None, None]).flatten()

    def __call__(
        self,
        joint: Tensor,
        turn: tuple[Tensor, Tensor] | None,
        head_norm: Tensor | None,
        positions: Tensor,
        layer: FixedLayer,
        window: int,
        mask: Tensor | None,
    ) -> Tensor:
        """What the queries see, ``[rows, heads · width]``; keys and values are kept.

        Args:
            joint: queries, keys and values, ``[rows, (heads + 2 · key heads) · width]``.
            turn: what :meth:`signed` gave; None for no rotation.
            head_norm: weights of the norm of queries and keys, ``[heads + key heads, width]``.
            positions: of the rows, int64 ``[rows]``.
            window: slots of the cache that are looked at.
            mask: see :func:`causal_attention`; the mask of a single row hides all later slots.
        """
        if own := self._kernel(joint, self._shape, head_norm is not None):
            flat = None if turn is None else (turn[0].flatten(), turn[1].flatten())
            norm = None if head_norm is None else (head_norm, self._shape.norm_eps)
            seen: Tensor = own.attend(
                joint.flatten(), flat, self._partner, norm, layer.keys, layer.values, positions,
                window, self._shape.scale,
            )  # fmt: skip
            return seen[None]
        shape = self._shape
        rows = joint.shape[0]
        joint = joint.view(rows, -1, shape.head_dim)
        turning, values = joint[:, : -shape.key_heads], joint[:, -shape.key_heads :]
        if head_norm is not None:
            normed = functional.rms_norm(turning, (shape.head_dim,), eps=shape.norm_eps)
            turning = normed * head_norm
        if turn is not None:
            turning = self._turned(turning, *turn)
        queries, keys = turning[:, : shape.heads], turning[:, shape.heads :]
        layer.keys.index_copy_(1, positions, keys.transpose(0, 1))
        layer.values.index_copy_(1, positions, values.transpose(0, 1))
        seen = causal_attention(
            queries, layer.keys[:, :window], layer.values[:, :window], mask, shape.scale
        )
        return seen.view(rows, -1)

    def signed(self, cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines for each number of a head, ``[rows, 1, rotary_dim]``.

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
        part = numbers[..., : self._shape.rotary_dim]
        turned = (part * cosines + self._swapped(part) * sines).to(numbers.dtype)
        if self._shape.rotary_dim == self._shape.head_dim:
            return turned
        return torch.cat((turned, numbers[..., self._shape.rotary_dim :]), dim=-1)

    def _swapped(self, numbers: Tensor) -> Tensor:
        """In the place of each of ``[rows, heads, rotary_dim]`` the one that it turns with."""
        grid = numbers.reshape(*numbers.shape[:2], *self._grid)
        return grid.flip(self._axis).flatten(2)


def causal_attention(
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
