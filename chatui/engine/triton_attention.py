"""Attention of one decode token in Triton: rotary positions, cache and softmax without a detour.

PyTorch needs a dozen launches for it and, with a mask, looks at the whole window; here what was
not written yet is not read. Keys and values are read in parts, so that a few heads fill a GPU, and
a second kernel joins what the parts saw (arXiv:2307.08691 with split keys). Imported only where
Triton is there, through :mod:`chatui.engine.kernel_support`; the plain PyTorch form is
:meth:`chatui.engine.architectures.decoder.causal_attention.Attention.plainly`.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_SLOTS = {"cuda": 16, "cpu": 512}
"""Keys and values that a program reads: 16 stay in registers when compiled for sm_80 and sm_90, and
64 did not. Triton's interpreter takes its time for each program.
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
    """Put the token's key and value into the cache and look back from it.

    Args:
        joint: floating point ``[(heads + 2 · key heads) · width]``: queries, keys and values.
        turn: cosines and sines with their signs, each ``[rotary width]``; None for no rotation.
        partner: int32 ``[rotary width]``, the number that each one turns with.
        head_norm: weights ``[heads + key heads, width]`` of the norm of queries and keys, and its
            epsilon; None for none.
        keys, values: ``[key heads, capacity, width]``, contiguous.
        position: int64 ``[1]``, less than ``window``.
        window: tokens that it looks back on at most.
        scale: factor on the products.

    Returns:
        ``[heads · width]`` in the dtype of ``joint``, computed in float32.
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
    """A query or key of one head, ``[PADDED]`` float32."""
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
    """Each program lets the queries of one key head look at some slots."""
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
        # Other programs read slots before this one alone.
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
    """Each program joins what one head saw in the parts that were written."""
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
