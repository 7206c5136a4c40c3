"""Weights of 8 or 4 bits, and products with them.

A weight ``[out, in]`` is stored as uint8 ``[blocks, in, row]``. A block is some neighbouring
outputs; a row holds their codes for one input, then the scale and the bias of that row:
``weight = code · scale + bias``. With 8 bits a row is 96 codes and two float32; with 4 bits it is
64 codes, the even output in the low half of a byte, and two float16. Outputs that fill up the last
block are of no use.

These are the rows of FBGEMM's fused embedding tables (fbgemm/QuantUtils.h), of which PyTorch's CPU
kernels make weighted sums straight from the codes: with the inputs as weights, such a sum is the
product of a vector and a matrix. The inputs and the sums are float32, so nothing but the weight
itself is rounded. On a GPU a kernel of our own unpacks in registers
(:mod:`chatui.engine.triton_kernels`). Elsewhere, and for many vectors at once, a few blocks at a
time are unpacked.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, lru_cache
from typing import Any

import torch
from torch import Tensor

from chatui.engine import kernel_support

BITS = (8, 4)
BLOCK_OUTPUTS = {8: 96, 4: 64}
"""Outputs of a block: what the kernels sum in registers (measured with AVX2)."""
_TAIL = {8: torch.float32, 4: torch.float16}
"""The dtype of a row's scale and bias."""
_MOST_SUMMED = 5
"""Vectors at once up to which sums over the codes are faster than unpacking (measured)."""
_BLOCKS_AT_ONCE = 32
"""Enough for the cores, few enough for their caches (measured)."""
_UNPACKED_CPU, _UNPACKED_ELSEWHERE = 1 << 19, 1 << 25
"""Unpacked numbers at once: on a CPU what stays in its cache, elsewhere what fills the device."""


def block_count(outputs: int, bits: int) -> int:
    """How many blocks a weight with so many outputs has."""
    return -(-outputs // BLOCK_OUTPUTS[bits])


def packed_bytes(outputs: int, inputs: int, bits: int) -> int:
    """Bytes of a packed weight."""
    return block_count(outputs, bits) * inputs * _row_bytes(bits)


def _row_bytes(bits: int) -> int:
    return BLOCK_OUTPUTS[bits] * bits // 8 + 2 * _TAIL[bits].itemsize


def bits_of(packed: Tensor) -> int:
    """8 or 4, from the length of a row."""
    return 8 if packed.shape[-1] == _row_bytes(8) else 4


def pack(weight: Tensor, bits: int) -> Tensor:
    """Quantise a weight, each row between its least and its largest number.

    Args:
        weight: floating point [out, in], on any device; finite.
        bits: 8 or 4.

    Returns:
        uint8 [blocks, in, row], on the same device.
    """
    packed = _empty(weight, bits)
    fast = weight.device.type == "cpu" and kernels_work()
    for block, target in zip(torch.split(weight, BLOCK_OUTPUTS[bits]), packed, strict=True):
        if fast and len(block) == BLOCK_OUTPUTS[bits]:
            target.copy_(_operator(bits, "prepack")(block.float().T.contiguous()))
        else:
            _pack_plainly(block.float(), target)
    return packed


def _pack_plainly(block: Tensor, target: Tensor) -> None:
    """As the kernels do it: from float32 [outputs of a block, in] into uint8 [in, row]."""
    bits = bits_of(target)
    most = 2**bits - 1
    least, largest = block.aminmax(dim=0)
    bias = least.to(_TAIL[bits])
    scale = ((largest - bias.float()) / most).to(_TAIL[bits])
    factor = torch.where(scale == 0, 0, 1 / scale.float())
    codes = ((block - bias.float()) * factor).round_().clamp_(0, most)
    _fill(target, codes.to(torch.uint8).T, torch.stack((scale, bias), dim=1))


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Store signed codes that are scaled elsewhere: unpacked they are themselves.

    Args:
        codes: int8 [out, in], from -2^(bits - 1) on.
        bits: 8 or 4.

    Returns:
        uint8 [blocks, in, row], on the same device.
    """
    offset = 2 ** (bits - 1)
    packed = _empty(codes, bits)
    tail = torch.tensor([1.0, -offset], dtype=_TAIL[bits], device=codes.device)
    for block, target in zip(torch.split(codes, BLOCK_OUTPUTS[bits]), packed, strict=True):
        shifted = (block.T.to(torch.int16) + offset).to(torch.uint8)
        _fill(target, shifted, tail.expand(len(shifted), 2))
    return packed


def _empty(weight: Tensor, bits: int) -> Tensor:
    outputs, inputs = weight.shape
    shape = (block_count(outputs, bits), inputs, _row_bytes(bits))
    return torch.zeros(shape, dtype=torch.uint8, device=weight.device)


def _fill(target: Tensor, codes: Tensor, tail: Tensor) -> None:
    """Write a block: uint8 codes [in, out] and [in, 2] scales and biases into uint8 [in, row]."""
    bits = bits_of(target)
    if bits == 4:
        if codes.shape[1] % 2:
            codes = torch.nn.functional.pad(codes, (0, 1))
        codes = codes[:, 0::2] | (codes[:, 1::2] << 4)
    target[:, : codes.shape[1]] = codes
    target[:, -2 * _TAIL[bits].itemsize :] = tail.contiguous().view(torch.uint8)


def unpack(packed: Tensor) -> Tensor:
    """The numbers of a weight, or of some of its blocks.

    Args:
        packed: uint8 [blocks, in, row].

    Returns:
        float32 [in, out], with as many outputs as the blocks hold.
    """
    if packed.device.type == "cpu" and kernels_work():
        rows = packed.view(-1, packed.shape[-1])
        made: Tensor = _operator(bits_of(packed), "unpack")(rows)
    else:
        made = _unpack_plainly(packed)
    blocks, inputs, _ = packed.shape
    return made.view(blocks, inputs, -1).transpose(0, 1).reshape(inputs, -1)


def _unpack_plainly(packed: Tensor) -> Tensor:
    """As the kernels do it: float32 [blocks, in, outputs of a block]."""
    bits = bits_of(packed)
    tail = 2 * _TAIL[bits].itemsize
    ends = packed[..., -tail:].contiguous().view(_TAIL[bits]).float()
    scale, bias = ends[..., :1], ends[..., 1:]
    codes = packed[..., :-tail]
    if bits == 4:
        codes = torch.stack((codes & 15, codes >> 4), dim=-1).flatten(-2)
    return codes.float() * scale + bias


def embedding_rows(packed: Tensor, ids: Tensor) -> Tensor:
    """Rows of a packed embedding: the weights of the outputs ``ids``.

    Args:
        packed: uint8 [blocks, in, row].
        ids: int64 [n].

    Returns:
        float32 [n, in].
    """
    bits = bits_of(packed)
    tail = 2 * _TAIL[bits].itemsize
    block, place = ids // BLOCK_OUTPUTS[bits], ids % BLOCK_OUTPUTS[bits]
    if bits == 4:
        codes = packed[block, :, place // 2] >> (4 * (place % 2))[:, None].to(torch.uint8) & 15
    else:
        codes = packed[block, :, place]
    ends = packed[block, :, -tail:].contiguous().view(_TAIL[bits]).float()
    return codes.float() * ends[..., 0] + ends[..., 1]


def product(states: Tensor, packed: Tensor, outputs: int, scale: Tensor | None = None) -> Tensor:
    """Vectors times a packed weight, through which a gradient passes on to the vectors.

    Args:
        states: floating point [..., in].
        packed: uint8 [blocks, in, row].
        outputs: how many there are.
        scale: float16 [out], on the weights of each output, which are then rounded to float16
            (ChatGLM-6B's); None for none.

    Returns:
        [..., outputs] in the dtype of ``states``, computed in float32 on a CPU.
    """
    vectors = states.reshape(-1, states.shape[-1])
    learns = states.requires_grad and torch.is_grad_enabled()
    if not learns and (own := kernel_support.vector_kernels(states)):
        sums: Tensor = own.packed_matvec(vectors[0], packed, outputs, bits_of(packed), scale)
        return sums.view(*states.shape[:-1], outputs)
    on_cpu = states.device.type == "cpu"
    if on_cpu:
        vectors = vectors.float()
    made: Tensor
    if learns:
        made = _Product.apply(vectors, packed, outputs, scale)  # type: ignore[no-untyped-call]
    elif on_cpu and len(vectors) <= _MOST_SUMMED and kernels_work():
        made = _sums(vectors, packed)[:, :outputs]
        # The same product but for the rounding of each weight, a 2^-12th of it at most.
        made = made if scale is None else made * scale.float()
    else:
        made = _by_blocks(vectors, packed, scale)[:, :outputs]
    return made.to(states.dtype).view(*states.shape[:-1], outputs)


def _sums(vectors: Tensor, packed: Tensor) -> Tensor:
    """Few vectors [n, in] times a weight, as weighted sums of its rows of codes."""
    operator = _operator(bits_of(packed), "rowwise_offsets")
    count, inputs = vectors.shape
    most = min(len(packed), _BLOCKS_AT_ONCE)
    places, ends = _places(most, count, inputs)
    # The same for all parts, so that they stay in the processor's cache.
    weights = vectors.expand(most, count, inputs).reshape(-1)
    made = []
    for part in torch.split(packed, most):
        sums = len(part) * count
        read = slice(sums * inputs)
        rows = part.view(-1, part.shape[-1])
        made.append(
            operator(
                rows, places[read], ends[: sums + 1], False, 0, False, weights[read], None, True
            )
            .view(len(part), count, -1)
            .transpose(0, 1)
            .reshape(count, -1)
        )
    return made[0] if len(made) == 1 else torch.cat(made, dim=1)


@lru_cache(maxsize=32)
def _places(blocks: int, count: int, inputs: int) -> tuple[Tensor, Tensor]:
    """The rows that each sum is over, and where each sum's begin: block by block, every vector."""
    rows = torch.arange(blocks * inputs, dtype=torch.int32).view(blocks, 1, inputs)
    ends = torch.arange(0, blocks * count * inputs + 1, inputs, dtype=torch.int32)
    return rows.expand(blocks, count, inputs).reshape(-1).contiguous(), ends


def _by_blocks(vectors: Tensor, packed: Tensor, scale: Tensor | None) -> Tensor:
    """Vectors [n, in] times a weight of which a part at a time is unpacked."""
    return torch.cat([vectors @ weight for weight in _parts(vectors, packed, scale)], dim=1)


def _parts(vectors: Tensor, packed: Tensor, scale: Tensor | None) -> Iterator[Tensor]:
    """A weight [in, some of the outputs] after another, in the vectors' dtype."""
    width, inputs = BLOCK_OUTPUTS[bits_of(packed)], packed.shape[1]
    limit = _UNPACKED_CPU if vectors.device.type == "cpu" else _UNPACKED_ELSEWHERE
    step = max(1, limit // (width * inputs))
    for start in range(0, len(packed), step):
        weight = unpack(packed[start : start + step])
        if scale is not None:
            factors = scale[start * width : (start + step) * width].float()
            weight = (weight[:, : len(factors)] * factors).half()
        yield weight.to(vectors.dtype)


class _Product(torch.autograd.Function):
    """The product by parts; on the way back each part is unpacked anew, so none is kept."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, packed: Tensor, outputs: int, scale: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(packed, scale)
        return _by_blocks(vectors, packed, scale)[:, :outputs]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,), (packed, scale) = gradients, ctx.saved_tensors
        before = gradient.new_zeros(len(gradient), packed.shape[1])
        start = 0
        for weight in _parts(gradient, packed, scale):
            part = gradient[:, start : start + weight.shape[1]]
            before.addmm_(part, weight[:, : part.shape[1]].T)
            start += weight.shape[1]
        return before, None, None, None


def _operator(bits: int, what: str) -> torch._ops.OpOverloadPacket:
    name = {8: "byte", 4: "4bit"}[bits]
    found: torch._ops.OpOverloadPacket = getattr(
        torch.ops.quantized, f"embedding_bag_{name}_{what}"
    )
    return found


@cache
def kernels_work() -> bool:
    """Whether PyTorch's CPU kernels for these rows are there and do what the layout says."""
    for bits in BITS:
        weight = torch.rand(BLOCK_OUTPUTS[bits], 3) - 0.5
        packed = _empty(weight, bits)
        _pack_plainly(weight, packed[0])
        plain = _unpack_plainly(packed)[0]
        vector = torch.rand(1, 3)
        try:
            unpacked = _operator(bits, "unpack")(packed[0])
            again = _operator(bits, "unpack")(_operator(bits, "prepack")(weight.T.contiguous()))
            sums = _sums(vector, packed)
        except (AttributeError, RuntimeError, NotImplementedError):
            return False
        if not torch.allclose(unpacked, plain, atol=1e-5):
            return False
        if not torch.allclose(again, plain, atol=0.01):
            return False
        if not torch.allclose(sums, vector @ plain, atol=1e-5):
            return False
    return True
