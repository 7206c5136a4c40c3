"""The Triton kernels in Triton's interpreter, against PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from asking import ask, loaded, parts
from torch.nn import functional

from chatui.engine import kernel_support, packed, packed_product
from chatui.engine.architectures.decoder.causal_attention import CachedAttention, DecoderShape
from chatui.engine.architectures.decoder.fixed_cache import FixedLayer

Maker = Callable[[str], Path]
HALVES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("triton", reason="Triton is not installed: pip install triton")
    monkeypatch.setattr(kernel_support, "DEVICES", {"cpu"})
    found = kernel_support._checked_kernels(torch.device("cpu"))
    assert found is not None
    return found


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", [(5, 3), (37, 1030)])
def test_a_plain_weight(kernels: ModuleType, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    weight, bias = torch.randn(shape).to(dtype), torch.randn(shape[0]).to(dtype)
    vector = torch.randn(shape[1]).to(dtype)
    expected = functional.linear(vector.float(), weight.float(), bias.float())
    found = kernels.matvec(vector, weight, bias)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected.to(dtype), atol=1e-4, rtol=1e-2)
    torch.testing.assert_close(
        kernels.matvec(vector, weight, None).float(), expected - bias.float(), atol=0.05, rtol=0.01
    )


@pytest.mark.parametrize("bits", packed.BITS)
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", [(200, 40), (64, 300), (97, 1)])
def test_a_packed_weight(
    kernels: ModuleType, bits: int, dtype: torch.dtype, shape: tuple[int, int]
) -> None:
    outputs, inputs = shape
    made = packed.pack(torch.randn(shape), bits)
    vector = torch.randn(inputs).to(dtype)
    expected = vector.float() @ packed.unpack(made)[:, :outputs]
    found = packed_product.product(vector[None], made, outputs)
    assert found.dtype == dtype and found.shape == (1, outputs)
    torch.testing.assert_close(found[0], expected.to(dtype), atol=1e-4, rtol=1e-2)


@pytest.mark.parametrize("bits", packed.BITS)
def test_chatglm_weights_are_rounded_to_half_precision(kernels: ModuleType, bits: int) -> None:
    """Weights are half(code · scale); the scale is not applied to the product."""
    least = -(2 ** (bits - 1))
    codes = torch.randint(least, -least, (130, 70), dtype=torch.int8)
    scale = (torch.rand(130) / 50).half()
    vector = torch.randn(70)
    weight = (codes.float() * scale.float()[:, None]).half().double()
    found = kernels.packed_matvec(vector, packed.pack_codes(codes, bits), 130, bits, scale)
    torch.testing.assert_close(found.double(), weight @ vector.double(), atol=1e-5, rtol=1e-5)


SHAPES = [
    (DecoderShape(4, 4, 16, 0.25, "halves", 16, 1e-6, gated=True), True),
    (DecoderShape(6, 2, 24, 0.2, "pairs", 12, 0.0, gated=True), False),
    (DecoderShape(2, 2, 32, 0.2, "rows", 32, 0.0, gated=False), False),
    (DecoderShape(3, 1, 8, 0.3, None, 0, 1e-6, gated=False), True),
]


@pytest.mark.parametrize("dtype", HALVES[:2])
@pytest.mark.parametrize(("shape", "normed"), SHAPES, ids=str)
def test_attention(
    kernels: ModuleType,
    shape: DecoderShape,
    normed: bool,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the cache's start, at the boundary of a part, and with many parts."""
    monkeypatch.setattr(triton_attention(), "_SLOTS", {"cpu": 64})
    monkeypatch.setattr(triton_attention(), "_PARTS_AT_ONCE", 2)
    joined = shape.heads + 2 * shape.key_heads
    sizes = [(shape.key_heads, 300, shape.head_dim)] * 2 + [(1, joined * shape.head_dim)]
    keys, values, joint = (torch.randn(size).to(dtype) for size in sizes)
    norm = torch.randn(joined - shape.key_heads, shape.head_dim).to(dtype) if normed else None
    turn = None
    if shape.rotary is not None:
        turn = (torch.randn(1, 1, shape.rotary_dim), torch.randn(1, 1, shape.rotary_dim))
    plain = CachedAttention(shape, torch.device("cpu"), lambda *_: None)
    fused = CachedAttention(shape, torch.device("cpu"), kernel_support.attention_kernel)
    for place, window in ((0, 150), (64, 150), (290, 300)):
        mask = (torch.arange(window) <= place)[None]
        found = []
        for attend in (plain, fused):
            layer = FixedLayer(keys.clone(), values.clone(), zero_unused=True)
            position = torch.tensor([place])
            seen = attend(joint, turn, norm, position, layer, window, mask)
            assert seen.dtype == dtype
            found.append((seen.float(), layer.keys.float(), layer.values.float()))
        near = 1e-5 if dtype == torch.float32 else 0.05
        torch.testing.assert_close(found[1], found[0], atol=near, rtol=near)


def triton_attention() -> Any:
    from chatui.engine import triton_attention

    return triton_attention


@pytest.mark.parametrize("weights", ["plain", "int4"])
@pytest.mark.parametrize("windowed", [False, True])
def test_replies_stay_the_same(
    kernels: ModuleType, made: Maker, weights: str, windowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = loaded(made("llama"), weights=weights)
    engine._loaded().network.decoder.windowed = windowed  # type: ignore[attr-defined]
    found = parts(ask(engine, max_new_tokens=3))[2].output_ids
    monkeypatch.setattr(kernel_support, "DEVICES", set())
    assert found == parts(ask(engine, max_new_tokens=3))[2].output_ids


def test_kernels_that_fail_are_not_used(
    kernels: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example without a compiler, or with wrong results on a GPU."""

    def broken(*_: Any) -> torch.Tensor:
        raise RuntimeError("Failed to find C compiler")

    cpu = torch.device("cpu")
    llama = (cpu, torch.float32, SHAPES[0][0], False)
    assert kernel_support._checked_attention(*llama) is triton_attention()
    for gemv, attend in (
        (broken, broken),
        (lambda *_: torch.zeros(100), lambda *_: torch.zeros(64)),
    ):
        with monkeypatch.context() as changed:
            changed.setattr(kernels, "packed_matvec", gemv)
            changed.setattr(triton_attention(), "attend", attend)
            assert kernel_support._checked_kernels.__wrapped__(cpu) is None
            assert kernel_support._checked_attention.__wrapped__(*llama) is None


def test_a_cpu_has_no_kernels() -> None:
    assert kernel_support.vector_kernels(torch.ones(4)) is None
