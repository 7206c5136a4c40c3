"""A vector times a matrix in Triton: every weight is read once, and unpacked in registers.

cuBLAS reaches 60 to 75 % of a GPU's memory bandwidth with a single vector. Imported only where
Triton is there, through :mod:`chatui.engine.kernel_support`; the plain PyTorch forms are
``functional.linear`` and :func:`chatui.engine.packed.product`.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_MOST_COLUMNS = 1024
_ROWS = {"cuda": 2, "cpu": 512}
"""Outputs of a program; Triton's interpreter takes its time for each program."""
_STEP = {8: 32, 4: 64}
"""Inputs at once: some kilobytes of codes for each program."""
_PROGRAMS = {"cuda": 1024, "cpu": 4}
"""Enough for every GPU: the inputs are split into parts until there are so many."""


def matvec(vector: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Floating point ``[in]``, ``[out, in]``, ``[out]`` -> ``[out]``, summed in float32."""
    outputs, inputs = weight.shape
    output = vector.new_empty(outputs)
    rows = _ROWS[vector.device.type]
    columns = min(_MOST_COLUMNS, triton.next_power_of_2(inputs))
    _matvec[(triton.cdiv(outputs, rows),)](
        vector, weight, weight if bias is None else bias, output, outputs, inputs,
        HAS_BIAS=bias is not None, ROWS=rows, COLUMNS=columns,
    )  # fmt: skip
    return output


def packed_matvec(
    vector: Tensor, packed: Tensor, outputs: int, bits: int, scale: Tensor | None
) -> Tensor:
    """A vector times a packed weight; for the layout see :mod:`chatui.engine.packed`.

    Args:
        vector: floating point ``[in]``.
        packed: uint8 ``[blocks, in, row]``.
        outputs: how many there are.
        bits: 8 or 4.
        scale: float16 ``[out]``; then a weight is half(code · scale), as ChatGLM-6B has it.

    Returns:
        ``[outputs]`` in the vector's dtype, summed in float32.
    """
    blocks, inputs, _ = packed.shape
    words = packed.view(torch.int32)
    tail = 2 if bits == 8 else 1
    coded = words.shape[-1] - tail
    step = _STEP[bits]
    parts = max(1, min(_PROGRAMS[vector.device.type] // blocks, inputs // (2 * step)))
    size = triton.cdiv(triton.cdiv(inputs, parts), step) * step
    parts = triton.cdiv(inputs, size)
    width = coded * 32 // bits
    sums = torch.empty((parts, blocks * width), dtype=torch.float32, device=vector.device)
    _packed_matvec[(blocks, parts)](
        vector, words, sums if scale is None else scale, sums, inputs, outputs, size,
        BITS=bits, CODED=coded, PADDED=triton.next_power_of_2(coded), TAIL=tail,
        ROUNDED=scale is not None, STEP=step,
    )  # fmt: skip
    # Not added up in the kernel: the order of its programs would change the text of a seed.
    return sums.sum(0)[:outputs].to(vector.dtype)


@triton.jit
def _matvec(
    vector, weight, bias, output, outputs, inputs,
    HAS_BIAS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Each program makes ``ROWS`` outputs."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    there = rows < outputs
    starts = weight + rows.to(tl.int64) * inputs
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(0, inputs, COLUMNS):
        columns = first + tl.arange(0, COLUMNS)
        inside = columns < inputs
        numbers = tl.load(vector + columns, mask=inside, other=0.0).to(tl.float32)
        weights = tl.load(
            starts[:, None] + columns[None, :], mask=there[:, None] & inside[None, :], other=0.0
        )
        sums += weights.to(tl.float32) * numbers[None, :]
    total = tl.sum(sums, axis=1)
    if HAS_BIAS:
        total += tl.load(bias + rows, mask=there, other=0.0).to(tl.float32)
    tl.store(output + rows, total.to(output.dtype.element_ty), mask=there)


@triton.jit
def _packed_matvec(
    vector, words, scale, sums, inputs, outputs, size,
    BITS: tl.constexpr, CODED: tl.constexpr, PADDED: tl.constexpr, TAIL: tl.constexpr,
    ROUNDED: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """Each program sums a part of the inputs for one block of outputs."""
    block, part = tl.program_id(0), tl.program_id(1)
    word, place = tl.arange(0, PADDED), tl.arange(0, 32 // BITS)
    output = block * CODED * (32 // BITS) + word[:, None] * (32 // BITS) + place[None, :]
    coded = word < CODED
    if ROUNDED:
        there = coded[:, None] & (output < outputs)
        factor = tl.load(scale + output, mask=there, other=0.0).to(tl.float32)
    total = tl.zeros((STEP, PADDED, 32 // BITS), tl.float32)
    for first in range(0, size, STEP):
        column = part * size + first + tl.arange(0, STEP)
        inside = column < inputs
        row = words + (block.to(tl.int64) * inputs + column) * (CODED + TAIL)
        packed = tl.load(
            row[:, None] + word[None, :], mask=inside[:, None] & coded[None, :], other=0
        )
        codes = (packed[:, :, None] >> (place * BITS)[None, None, :]) & (2**BITS - 1)
        number = tl.load(vector + column, mask=inside, other=0.0).to(tl.float32)
        if ROUNDED:
            weight = (codes - 2 ** (BITS - 1)).to(tl.float32) * factor[None, :, :]
            weight = weight.to(tl.float16).to(tl.float32)
        else:
            end = tl.load(row + CODED, mask=inside, other=0)
            if BITS == 8:
                step = end.to(tl.float32, bitcast=True)
                least = tl.load(row + CODED + 1, mask=inside, other=0).to(tl.float32, bitcast=True)
            else:
                step = (end & 0xFFFF).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
                least = (end >> 16).to(tl.int16).to(tl.float16, bitcast=True).to(tl.float32)
            weight = codes.to(tl.float32) * step[:, None, None] + least[:, None, None]
        total += weight * number[:, None, None]
    width = CODED * (32 // BITS)
    stored = sums + part * tl.num_programs(0) * width + output
    tl.store(stored, tl.sum(total, axis=0), mask=coded[:, None])
