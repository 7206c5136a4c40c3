"""Attention of one decode token in Triton, fused with rotary positions and the cache's update.

PyTorch needs a dozen kernel launches for it and, with a mask, reads the whole window; these kernels
skip unused slots. Keys and values are split into parts, so that a few heads occupy a GPU, and a
second kernel combines the parts' results (arXiv:2307.08691 with split keys). Import this module
through :mod:`chatui.engine.kernel_support`, which checks that Triton is installed. The PyTorch
equivalent is :class:`chatui.engine.architectures.decoder.causal_attention.CachedAttention`.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_SLOTS = {"cuda": 16, "cpu": 512}
"""Cache slots of a program. Compiled for sm_80 and sm_90, 16 fit the registers and 64 do not. On a
CPU, Triton's interpreter has a high cost per program.
"""
_PARTS_AT_ONCE = 32


def attend(
    joint: Tensor,
    turn: tuple[Tensor, Tensor] | None,
    partner: Tensor,
    head_norm: tuple[Tensor, float] | None,
    keys: Tensor,
    values: Tensor,
    position: Tensor,
    window: int,
    scale: float,
) -> Tensor:
    """Write a token's key and value to the cache, and attend to all tokens up to it.

    Args:
        joint: floating point ``[(heads + 2 · key heads) · head_dim]``: queries, keys and values.
        turn: cosines and signed sines of the rotation, each ``[rotary_dim]``; None for no rotation.
        partner: int32 ``[rotary_dim]``, the index of the other element of each rotated pair.
        head_norm: weights ``[heads + key heads, head_dim]`` of the norm of queries and keys, and
            its epsilon; None for no norm.
        keys, values: ``[key heads, capacity, head_dim]``, contiguous.
        position: int64 ``[1]``, less than ``window``.
        window: maximum number of tokens to attend to.
        scale: factor on the scores.

    Returns:
        ``[heads · head_dim]`` in the dtype of ``joint``, computed in float32.
    """
    key_heads, capacity, width = keys.shape
    heads = joint.numel() // width - 2 * key_heads
    slots = _SLOTS[joint.device.type]
    parts = triton.cdiv(window, slots)
    padded = triton.next_power_of_2(width)
    seen = torch.empty((heads, parts, width + 2), dtype=torch.float32, device=joint.device)
    output = joint.new_empty(heads * width)
    cosines, sines = (joint, joint) if turn is None else turn
    weights, eps = (joint, 0.0) if head_norm is None else head_norm
    _attend_part[(key_heads, parts)](
        joint, cosines, sines, partner, weights, eps, keys, values, position, seen, capacity, scale,
        GROUPS=heads // key_heads, WIDTH=width, PADDED=padded, SLOTS=slots,
        ROTARY=0 if turn is None else partner.numel(), NORMED=head_norm is not None,
    )  # fmt: skip
    _join_parts[(heads,)](
        seen, position, output, parts,
        WIDTH=width, PADDED=padded, SLOTS=slots, AT_ONCE=_PARTS_AT_ONCE,
    )  # fmt: skip
    return output


@triton.jit
def _turned(
    joint, head, column, other, cosine, sine, weights, eps, WIDTH: tl.constexpr,
    NORMED: tl.constexpr,
):  # fmt: skip
    """Return the normalised and rotated query or key of one head, ``[PADDED]`` float32."""
    wide = column < WIDTH
    numbers = tl.load(joint + head * WIDTH + column, mask=wide, other=0.0).to(tl.float32)
    swapped = tl.load(joint + head * WIDTH + other, mask=wide, other=0.0).to(tl.float32)
    if NORMED:
        factor = 1.0 / tl.sqrt(tl.sum(numbers * numbers, axis=0) / WIDTH + eps)
        numbers *= factor * tl.load(weights + head * WIDTH + column, mask=wide, other=0.0)
        swapped *= factor * tl.load(weights + head * WIDTH + other, mask=wide, other=0.0)
    return numbers * cosine + swapped * sine


@triton.jit
def _attend_part(
    joint, cosines, sines, partner, weights, eps, keys, values, position, seen, capacity, scale,
    GROUPS: tl.constexpr, WIDTH: tl.constexpr, PADDED: tl.constexpr, SLOTS: tl.constexpr,
    ROTARY: tl.constexpr, NORMED: tl.constexpr,
):  # fmt: skip
    """Attend from the queries of one key head to some slots in each program."""
    key_head, part = tl.program_id(0), tl.program_id(1)
    here = tl.load(position)
    if part * SLOTS <= here:
        column = tl.arange(0, PADDED)
        turning = column < ROTARY
        other = tl.load(partner + column, mask=turning, other=0)
        other = tl.where(turning, other, column)
        cosine = tl.load(cosines + column, mask=turning, other=1.0).to(tl.float32)
        sine = tl.load(sines + column, mask=turning, other=0.0).to(tl.float32)
        heads = GROUPS * tl.num_programs(0)
        key = _turned(
            joint, heads + key_head, column, other, cosine, sine, weights, eps, WIDTH, NORMED
        )
        wide = column < WIDTH
        row = joint + (heads + tl.num_programs(0) + key_head) * WIDTH
        value = tl.load(row + column, mask=wide, other=0.0).to(tl.float32)
        slot = part * SLOTS + tl.arange(0, SLOTS)
        place = (key_head.to(tl.int64) * capacity + slot)[:, None] * WIDTH + column[None, :]
        before = (slot < here)[:, None] & wide[None, :]
        last = (slot == here)[:, None] & wide[None, :]
        own = tl.load(keys + place, mask=before, other=0.0).to(tl.float32)
        own = tl.where(last, key[None, :], own)
        what = tl.load(values + place, mask=before, other=0.0).to(tl.float32)
        what = tl.where(last, value[None, :], what)
        # All other programs read earlier slots only.
        tl.store(keys + place, own.to(keys.dtype.element_ty), mask=last)
        tl.store(values + place, what.to(values.dtype.element_ty), mask=last)
        for group in range(GROUPS):
            head = key_head * GROUPS + group
            query = _turned(joint, head, column, other, cosine, sine, weights, eps, WIDTH, NORMED)
            scores = tl.sum(own * query[None, :], axis=1) * scale
            scores = tl.where(slot <= here, scores, -float("inf"))
            most = tl.max(scores, axis=0)
            shares = tl.exp(scores - most)
            stored = seen + (head * tl.num_programs(1) + part) * (WIDTH + 2)
            tl.store(stored + column, tl.sum(shares[:, None] * what, axis=0), mask=wide)
            tl.store(stored + WIDTH, most)
            tl.store(stored + WIDTH + 1, tl.sum(shares, axis=0))


@triton.jit
def _join_parts(
    seen, position, output, parts,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, SLOTS: tl.constexpr, AT_ONCE: tl.constexpr,
):  # fmt: skip
    """Combine the results of one head's parts in each program."""
    head = tl.program_id(0)
    count = tl.load(position) // SLOTS + 1
    column = tl.arange(0, PADDED)
    most, total = -float("inf"), 0.0
    sums = tl.zeros((PADDED,), tl.float32)
    for first in range(0, count, AT_ONCE):
        part = first + tl.arange(0, AT_ONCE)
        inside = part < count
        row = seen + (head * parts + part) * (WIDTH + 2)
        highest = tl.load(row + WIDTH, mask=inside, other=-float("inf"))
        above = tl.maximum(most, tl.max(highest, axis=0))
        factor = tl.exp(highest - above)
        there = inside[:, None] & (column < WIDTH)[None, :]
        read = tl.load(row[:, None] + column[None, :], mask=there, other=0.0)
        totals = tl.load(row + WIDTH + 1, mask=inside, other=0.0)
        earlier = tl.exp(most - above)
        sums = sums * earlier + tl.sum(read * factor[:, None], axis=0)
        total = total * earlier + tl.sum(totals * factor, axis=0)
        most = above
    kept = (sums / total).to(output.dtype.element_ty)
    tl.store(output + head * WIDTH + column, kept, mask=column < WIDTH)
