"""Matrix-vector products in Triton, which read every weight once and unpack it in registers.

For a single vector, cuBLAS reaches 60 to 75 % of a GPU's memory bandwidth. Import this module
through :mod:`chatui.engine.kernel_support`, which checks that Triton is installed. The PyTorch
equivalents are ``functional.linear`` and :func:`chatui.engine.packed_product.product`.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

_MOST_COLUMNS = 1024
_ROWS = {"cuda": 2, "cpu": 512}
"""Outputs of a program; many on the CPU, where Triton's interpreter has a high cost per program."""
_STEP = {8: 32, 4: 64}
"""Inputs of a loop iteration, by bits: some kilobytes of codes for each program."""
_PROGRAMS = {"cuda": 1024, "cpu": 4}
"""Number of programs up to which the inputs are split into parts; enough for every GPU."""


def matvec(vector: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply and add a bias: floating point ``[in]``, ``[out, in]``, ``[out]`` -> ``[out]``.

    Sums are float32.
    """
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
    """Multiply a vector by a packed weight; for its layout see :mod:`chatui.engine.packed`.

    Args:
        vector: floating point ``[in]``.
        packed: uint8 ``[blocks, in, row]``.
        outputs: number of outputs, without padding.
        bits: 8 or 4.
        scale: float16 ``[out]``; a weight is then half(code · scale), as in ChatGLM-6B.

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
    # Not summed in the kernel, whose programs run in any order: a seed must give the same text.
    return sums.sum(0)[:outputs].to(vector.dtype)


@triton.jit
def _matvec(
    vector, weight, bias, output, outputs, inputs,
    HAS_BIAS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Compute ``ROWS`` outputs in each program."""
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
    """Sum a part of the inputs for one block of outputs in each program."""
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
