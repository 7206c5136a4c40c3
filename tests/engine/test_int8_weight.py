"""8-bit weights in FBGEMM's layout, against products with the dequantised weight."""

from __future__ import annotations

import pytest
import torch

from chatui.engine.int8_weight import Int8Weight, products


@pytest.mark.parametrize("rows", [(), (1,), (2, 20)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_use_14_bits_of_the_states(rows: tuple[int, ...], dtype: torch.dtype) -> None:
    """Including states with an outlier, and states of zeros."""
    torch.manual_seed(0)
    weight = torch.randn(70, 200)
    weight[3] = 0
    made = Int8Weight.quantise(weight)
    plain = made.dequantise()
    step = weight.abs().amax(dim=1, keepdim=True) / 127
    assert ((plain - weight).abs() <= step * 0.501).all()
    states = torch.randn(*rows, 200)
    states[..., 7] *= 100
    states = states.to(dtype)
    found = products(states, [made, made])
    expected = (states.double() @ plain.double().T).repeat(*(1 for _ in rows), 2)
    assert found.dtype == dtype and found.shape == expected.shape
    largest = 3 * float(states.abs().max()) / 16384 * 200**0.5 + 0.01 * (dtype != torch.float32)
    assert ((found.double() - expected).abs() <= largest + 0.01 * expected.abs()).all()
    assert not products(torch.zeros(4, 200), [made]).any()


def test_codes_are_kept_exactly() -> None:
    codes = torch.randint(-128, 128, (33, 65), dtype=torch.int8)
    scale = (torch.rand(33) / 50).half()
    made = Int8Weight(codes, scale)
    assert torch.equal(made.dequantise(), codes.float() * scale.float()[:, None])


def test_sums_do_not_overflow() -> None:
    """With the largest numbers, because FBGEMM adds pairs of products in 16 bits."""
    made = Int8Weight(torch.full((32, 512), -128, dtype=torch.int8), torch.ones(32))
    found = products(torch.full((1, 512), -5.0), [made])
    torch.testing.assert_close(found, torch.full((1, 32), 5.0 * 128 * 512), rtol=1e-3, atol=0)


def test_the_gradient_of_a_product() -> None:
    made = Int8Weight.quantise(torch.randn(40, 64))
    states = torch.randn(3, 64, requires_grad=True)
    products(states, [made, made]).square().sum().backward()
    expected = 4 * states.detach() @ made.dequantise().T @ made.dequantise()
    torch.testing.assert_close(states.grad, expected, rtol=1e-3, atol=1e-2)
