"""Packed weights of 8 and 4 bits, against products with the unpacked weight."""

from __future__ import annotations

import pytest
import torch

from chatui.engine import packed, packed_product


@pytest.mark.parametrize("bits", packed.BITS)
@pytest.mark.parametrize("shape", [(200, 96), (64, 33), (7, 5), (513, 32), (96, 1)])
def test_products_equal_those_with_the_unpacked_weight(bits: int, shape: tuple[int, int]) -> None:
    """For one, a few and many vectors."""
    torch.manual_seed(1)
    outputs, inputs = shape
    weight = torch.randn(outputs, inputs)
    made = packed.pack(weight, bits)
    assert made.nbytes == packed.packed_bytes(outputs, inputs, bits)
    plain = packed.unpack(made)[:, :outputs].T
    step = (weight.max() - weight.min()) / (2**bits - 1)
    assert (plain - weight).abs().max() <= step * 0.51
    torch.testing.assert_close(packed.embedding_rows(made, torch.arange(outputs)), plain)
    for count in (1, 3, 40):
        states = torch.randn(2, count, inputs)
        product = packed_product.product(states, made, outputs)
        torch.testing.assert_close(product, states @ plain.T, rtol=1e-4, atol=1e-4)
        (gradient,) = torch.autograd.grad(
            packed_product.product(states.requires_grad_(), made, outputs).square().sum() / 2,
            states,
        )
        torch.testing.assert_close(gradient, product @ plain, rtol=1e-3, atol=1e-2)
        half = packed_product.product(states.detach().bfloat16(), made, outputs)
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), product, rtol=3e-2, atol=3e-1)


@pytest.mark.parametrize("bits", packed.BITS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_cpu_kernels_pack_as_pytorch_does_on_a_gpu(bits: int, dtype: torch.dtype) -> None:
    width = packed.BLOCK_OUTPUTS[bits]
    weight = torch.randn(width, 31, generator=torch.Generator().manual_seed(2)).to(dtype)
    weight[:, 3] = 0
    weight[:, 4] = 1.5
    made = packed.pack(weight, bits)
    by_pytorch = torch.zeros_like(made)
    packed._pack_block(weight.float(), by_pytorch[0])
    fast, plain = packed.unpack(made), packed._unpack_with_torch(by_pytorch)[0]
    torch.testing.assert_close(packed.unpack(by_pytorch), plain)
    assert torch.equal(plain[3], torch.zeros_like(plain[3]))
    assert torch.equal(plain[4], torch.full((width,), 1.5))
    # A number halfway between two codes may be rounded either way.
    assert (fast - plain).abs().max() <= 8 / (2**bits - 1)
    assert (fast - plain).abs().mean() <= 1e-3


@pytest.mark.parametrize("bits", packed.BITS)
def test_packed_codes_are_restored(bits: int) -> None:
    least = -(2 ** (bits - 1))
    codes = torch.randint(least, -least, (130, 40), dtype=torch.int8)
    unpacked = packed.unpack(packed.pack_codes(codes, bits))[:, :130].T
    assert torch.equal(unpacked, codes.float())
