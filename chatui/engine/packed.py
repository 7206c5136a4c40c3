"""Weights of 8 or 4 bits: their layout, packing, unpacking and weighted sums.

A weight ``[out, in]`` is stored as uint8 ``[blocks, in, row]``. A block is a range of outputs; a
row holds their codes for one input, then the row's scale and bias: ``weight = code · scale +
bias``. With 8 bits a row is 96 codes and two float32; with 4 bits it is 64 codes, the even output
in the low half of a byte, and two float16. The last block is padded.

This is the row format of FBGEMM's fused embedding tables (fbgemm/QuantUtils.h). PyTorch's CPU
kernels compute weighted sums of such rows without unpacking them; with the inputs as weights, a sum
is a matrix-vector product. Inputs and sums are float32, so only the weights are rounded.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

BITS = (8, 4)
BLOCK_OUTPUTS = {8: 96, 4: 64}
"""Outputs of a block, by bits; the fastest sizes for the kernels, measured with AVX2."""
_SCALE_DTYPE = {8: torch.float32, 4: torch.float16}
"""The dtype of a row's scale and bias, by bits."""
_BLOCKS_PER_CALL = 32
"""Blocks of one kernel call: enough for all cores, few enough for their caches (measured)."""


def block_count(outputs: int, bits: int) -> int:
    """Return the number of blocks of a weight."""
    return -(-outputs // BLOCK_OUTPUTS[bits])


def packed_bytes(outputs: int, inputs: int, bits: int) -> int:
    """Return the size of a packed weight in bytes."""
    return block_count(outputs, bits) * inputs * _row_bytes(bits)


def _row_bytes(bits: int) -> int:
    return BLOCK_OUTPUTS[bits] * bits // 8 + 2 * _SCALE_DTYPE[bits].itemsize


def bits_of(packed: Tensor) -> int:
    """Return the bits of a packed weight, 8 or 4."""
    return 8 if packed.shape[-1] == _row_bytes(8) else 4


def pack(weight: Tensor, bits: int) -> Tensor:
    """Quantise a weight; the codes of each row span its smallest to its largest number.

    Args:
        weight: finite floating point numbers [out, in], on any device.
        bits: 8 or 4.

    Returns:
        uint8 [blocks, in, row], on the same device.
    """
    packed = _allocate(weight, bits)
    on_cpu = weight.device.type == "cpu"
    for block, target in zip(torch.split(weight, BLOCK_OUTPUTS[bits]), packed, strict=True):
        if on_cpu and len(block) == BLOCK_OUTPUTS[bits]:
            target.copy_(_operator(bits, "prepack")(block.float().T.contiguous()))
        else:
            _pack_block(block.float(), target)
    return packed


def _pack_block(block: Tensor, target: Tensor) -> None:
    """Pack float32 [outputs of a block, in] into uint8 [in, row], as the kernels do."""
    bits = bits_of(target)
    max_code = 2**bits - 1
    smallest, largest = block.aminmax(dim=0)
    bias = smallest.to(_SCALE_DTYPE[bits])
    scale = ((largest - bias.float()) / max_code).to(_SCALE_DTYPE[bits])
    factor = torch.where(scale == 0, 0, 1 / scale.float())
    codes = ((block - bias.float()) * factor).round_().clamp_(0, max_code)
    _write_block(target, codes.to(torch.uint8).T, torch.stack((scale, bias), dim=1))


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Pack signed integers without a scale; unpacking returns the same integers.

    Args:
        codes: int8 [out, in], at least -2^(bits - 1).
        bits: 8 or 4.

    Returns:
        uint8 [blocks, in, row], on the same device.
    """
    offset = 2 ** (bits - 1)
    packed = _allocate(codes, bits)
    tail = torch.tensor([1.0, -offset], dtype=_SCALE_DTYPE[bits], device=codes.device)
    for block, target in zip(torch.split(codes, BLOCK_OUTPUTS[bits]), packed, strict=True):
        shifted = (block.T.to(torch.int16) + offset).to(torch.uint8)
        _write_block(target, shifted, tail.expand(len(shifted), 2))
    return packed


def _allocate(weight: Tensor, bits: int) -> Tensor:
    outputs, inputs = weight.shape
    shape = (block_count(outputs, bits), inputs, _row_bytes(bits))
    return torch.zeros(shape, dtype=torch.uint8, device=weight.device)


def _write_block(target: Tensor, codes: Tensor, tail: Tensor) -> None:
    """Write uint8 codes [in, out], and scales and biases [in, 2], into uint8 [in, row]."""
    bits = bits_of(target)
    if bits == 4:
        if codes.shape[1] % 2:
            codes = torch.nn.functional.pad(codes, (0, 1))
        codes = codes[:, 0::2] | (codes[:, 1::2] << 4)
    target[:, : codes.shape[1]] = codes
    target[:, -2 * _SCALE_DTYPE[bits].itemsize :] = tail.contiguous().view(torch.uint8)


def unpack(packed: Tensor) -> Tensor:
    """Unpack a weight, or some of its blocks.

    Args:
        packed: uint8 [blocks, in, row].

    Returns:
        float32 [in, out], including the padding of the last block.
    """
    if packed.device.type == "cpu":
        made: Tensor = _operator(bits_of(packed), "unpack")(packed.view(-1, packed.shape[-1]))
    else:
        made = _unpack_with_torch(packed)
    blocks, inputs, _ = packed.shape
    return made.view(blocks, inputs, -1).transpose(0, 1).reshape(inputs, -1)


def _unpack_with_torch(packed: Tensor) -> Tensor:
    """Unpack to float32 [blocks, in, outputs of a block], as the kernels do."""
    bits = bits_of(packed)
    tail = 2 * _SCALE_DTYPE[bits].itemsize
    ends = packed[..., -tail:].contiguous().view(_SCALE_DTYPE[bits]).float()
    codes = packed[..., :-tail]
    if bits == 4:
        codes = torch.stack((codes & 15, codes >> 4), dim=-1).flatten(-2)
    return codes.float() * ends[..., :1] + ends[..., 1:]


def embedding_rows(packed: Tensor, ids: Tensor) -> Tensor:
    """Return rows of a packed embedding, the weights of the outputs ``ids``.

    Args:
        packed: uint8 [blocks, in, row].
        ids: int64 [n].

    Returns:
        float32 [n, in].
    """
    bits = bits_of(packed)
    tail = 2 * _SCALE_DTYPE[bits].itemsize
    block, output = ids // BLOCK_OUTPUTS[bits], ids % BLOCK_OUTPUTS[bits]
    if bits == 4:
        codes = packed[block, :, output // 2] >> (4 * (output % 2))[:, None].to(torch.uint8) & 15
    else:
        codes = packed[block, :, output]
    ends = packed[block, :, -tail:].contiguous().view(_SCALE_DTYPE[bits]).float()
    return codes.float() * ends[..., 0] + ends[..., 1]


def weighted_sums(vectors: Tensor, packed: Tensor) -> Tensor:
    """Multiply a few vectors [n, in] by a weight, as weighted sums of its rows."""
    operator = _operator(bits_of(packed), "rowwise_offsets")
    count, inputs = vectors.shape
    blocks = min(len(packed), _BLOCKS_PER_CALL)
    indices, offsets = _sum_indices(blocks, count, inputs)
    # All parts use the same weights, which stay in the processor's cache.
    weights = vectors.expand(blocks, count, inputs).reshape(-1)
    made = []
    for part in torch.split(packed, blocks):
        sums = len(part) * count
        used = slice(sums * inputs)
        summed = operator(
            part.view(-1, part.shape[-1]), indices[used], offsets[: sums + 1],
            False, 0, False, weights[used], None, True,
        )  # fmt: skip
        made.append(summed.view(len(part), count, -1).transpose(0, 1).reshape(count, -1))
    return torch.cat(made, dim=1)


@lru_cache(maxsize=32)
def _sum_indices(blocks: int, count: int, inputs: int) -> tuple[Tensor, Tensor]:
    """Return the rows of all sums, in order of blocks and vectors, and the offset of each sum."""
    rows = torch.arange(blocks * inputs, dtype=torch.int32).view(blocks, 1, inputs)
    offsets = torch.arange(0, blocks * count * inputs + 1, inputs, dtype=torch.int32)
    return rows.expand(blocks, count, inputs).reshape(-1).contiguous(), offsets


def _operator(bits: int, what: str) -> Any:
    name = {8: "byte", 4: "4bit"}[bits]
    return getattr(torch.ops.quantized, f"embedding_bag_{name}_{what}")
