"""Attention with rotary positions and a KV cache, for all supported decoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from chatui.engine.architectures.decoder.fixed_cache import FixedLayer


@dataclass(frozen=True)
class DecoderShape:
    """The configuration of a decoder.

    Attributes:
        heads, key_heads: number of query heads, and of key and value heads, which groups of query
            heads share.
        head_dim: size of a head.
        scale: factor on the products of queries and keys.
        rotary: which elements are rotated together: "halves" ``i`` and ``i + half``, "pairs"
            neighbours; "rows" is "halves" in each half of a head, with separate positions. None
            for no rotation.
        rotary_dim: number of elements of a head that are rotated, from the first one on.
        norm_eps: epsilon of the norm of queries and keys, if a block has one.
        gated: whether the MLP is gated.
        normed_residual_scale: factor on the norm's output that the residual is taken from
            (ChatGLM-6B); None takes the residual from the states before the norm.
    """

    heads: int
    key_heads: int
    head_dim: int
    scale: float
    rotary: Literal["halves", "pairs", "rows"] | None = None
    rotary_dim: int = 0
    norm_eps: float = 0.0
    gated: bool = False
    normed_residual_scale: float | None = None


class CachedAttention:
    """Causal attention that rotates queries and keys and appends keys and values to a cache.

    Args:
        select_kernel: returns the Triton kernel to use. A decoder with ALiBi passes a function that
            returns None, because the kernel supports no bias.
    """

    def __init__(
        self,
        shape: DecoderShape,
        device: torch.device,
        select_kernel: Callable[..., ModuleType | None],
    ) -> None:
        self._shape = shape
        self._select_kernel = select_kernel
        half = shape.rotary_dim // 2
        grids = {"halves": (2, half), "pairs": (half, 2), "rows": (2, 2, half // 2)}
        self._grid = grids[shape.rotary or "halves"]
        self._axis = -1 if shape.rotary == "pairs" else -2
        self._angle_count = half // 2 if shape.rotary == "rows" else half
        indices = torch.arange(shape.rotary_dim, dtype=torch.int32, device=device)
        self._partner = self._swap_pairs(indices[None, None]).flatten()

    def __call__(
        self,
        qkv: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
        head_norm: Tensor | None,
        positions: Tensor,
        layer: FixedLayer,
        window: int,
        mask: Tensor | None,
    ) -> Tensor:
        """Store the keys and values, and attend: ``[rows, heads · head_dim]``.

        Args:
            qkv: queries, keys and values, ``[rows, (heads + 2 · key heads) · head_dim]``.
            rotation: from :meth:`rotation_factors`; None for no rotation.
            head_norm: weights of the norm of queries and keys, ``[heads + key heads, head_dim]``;
                None for no norm.
            positions: cache slots of the rows, int64 ``[rows]``.
            window: number of cache slots to attend to.
            mask: see :func:`causal_attention`; the mask of a single row hides all later slots.
        """
        if kernel := self._select_kernel(qkv, self._shape, head_norm is not None):
            flat = None if rotation is None else (rotation[0].flatten(), rotation[1].flatten())
            norm = None if head_norm is None else (head_norm, self._shape.norm_eps)
            attended: Tensor = kernel.attend(
                qkv.flatten(), flat, self._partner, norm, layer.keys, layer.values, positions,
                window, self._shape.scale,
            )  # fmt: skip
            return attended[None]
        shape = self._shape
        rows = qkv.shape[0]
        qkv = qkv.view(rows, -1, shape.head_dim)
        queries_keys, values = qkv[:, : -shape.key_heads], qkv[:, -shape.key_heads :]
        if head_norm is not None:
            normed = functional.rms_norm(queries_keys, (shape.head_dim,), eps=shape.norm_eps)
            queries_keys = normed * head_norm
        if rotation is not None:
            queries_keys = self._rotate(queries_keys, *rotation)
        queries, keys = queries_keys[:, : shape.heads], queries_keys[:, shape.heads :]
        layer.keys.index_copy_(1, positions, keys.transpose(0, 1))
        layer.values.index_copy_(1, positions, values.transpose(0, 1))
        attended = causal_attention(
            queries, layer.keys[:, :window], layer.values[:, :window], mask, shape.scale
        )
        return attended.view(rows, -1)

    def rotation_factors(self, cosines: Tensor, sines: Tensor) -> tuple[Tensor, Tensor]:
        """Expand the cosines and sines of angles to all elements, ``[rows, 1, rotary_dim]`` each.

        The sine of the first element of a pair is negated. Of repeated angles, which transformers
        gives, only the first ones are used.
        """
        axis = self._axis
        cosine = cosines[..., : self._angle_count].unsqueeze(1)
        sine = sines[..., : self._angle_count].unsqueeze(1)
        return (
            torch.stack((cosine, cosine), dim=axis).flatten(2),
            torch.stack((-sine, sine), dim=axis).flatten(2),
        )

    def _rotate(self, numbers: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """Apply rotary positions (arXiv:2104.09864) to ``[rows, heads, head_dim]``."""
        part = numbers[..., : self._shape.rotary_dim]
        rotated = (part * cosines + self._swap_pairs(part) * sines).to(numbers.dtype)
        if self._shape.rotary_dim == self._shape.head_dim:
            return rotated
        return torch.cat((rotated, numbers[..., self._shape.rotary_dim :]), dim=-1)

    def _swap_pairs(self, numbers: Tensor) -> Tensor:
        """Swap the two elements of each rotated pair in ``[rows, heads, rotary_dim]``."""
        grid = numbers.reshape(*numbers.shape[:2], *self._grid)
        return grid.flip(self._axis).flatten(2)


def causal_attention(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, scale: float
) -> Tensor:
    """Compute causal attention for the last tokens of a sequence.

    Args:
        queries: ``[rows, heads, head_dim]``.
        keys, values: ``[key heads, window, head_dim]``.
        mask: bool ``[rows, window]``, True to attend, or ``[heads, rows, window]`` to add to the
            scores; None if the queries are the whole sequence, or one token that attends to all of
            the window.
        scale: factor on the scores.

    Returns:
        ``[rows, heads, head_dim]``.
    """
    rows, heads, width = queries.shape
    groups = heads // keys.shape[0]
    attend = functional.scaled_dot_product_attention
    if rows == 1:
        # The queries of a group, which share a key head, are passed as rows.
        grouped = queries.reshape(1, keys.shape[0], groups, width)
        return attend(grouped, keys[None], values[None], mask, scale=scale).view(1, heads, width)
    shared = groups > 1
    if shared and mask is not None and queries.device.type == "cuda":
        # With a mask, CUDA's fast kernels need as many key heads as query heads.
        keys, values = (each.repeat_interleave(groups, dim=0) for each in (keys, values))
        shared = False
    attended = attend(
        queries.transpose(0, 1)[None], keys[None], values[None], mask,
        is_causal=mask is None, scale=scale, enable_gqa=shared,
    )  # fmt: skip
    return attended[0].transpose(0, 1).contiguous()
