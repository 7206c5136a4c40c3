"""Kernels for a GPU in Triton's interpreter, against plain PyTorch; else there are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from asking import ask, loaded, parts
from torch.nn import functional

from chatui.engine import kernels, packed

Maker = Callable[[str], Path]
HALVES = [torch.float32, torch.float16, torch.bfloat16]


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    pytest.importorskip("triton", reason="Triton is not installed: pip install triton")
    monkeypatch.setattr(kernels, "DEVICES", {"cpu"})
    found = kernels._kernels(torch.device("cpu"))
    assert found is not None
    return found


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", [(5, 3), (37, 1030)])
def test_a_plain_weight(own: ModuleType, dtype: torch.dtype, shape: tuple[int, int]) -> None:
    weight, bias = torch.randn(shape).to(dtype), torch.randn(shape[0]).to(dtype)
    vector = torch.randn(shape[1]).to(dtype)
    expected = functional.linear(vector.float(), weight.float(), bias.float())
    found = own.matvec(vector, weight, bias)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected.to(dtype), atol=1e-4, rtol=1e-2)
    torch.testing.assert_close(
        own.matvec(vector, weight, None).float(), expected - bias.float(), atol=0.05, rtol=0.01
    )


@pytest.mark.parametrize("bits", packed.BITS)
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", [(200, 40), (64, 300), (97, 1)])
def test_a_packed_weight(
    own: ModuleType, bits: int, dtype: torch.dtype, shape: tuple[int, int]
) -> None:
    outputs, inputs = shape
    made = packed.pack(torch.randn(shape), bits)
    vector = torch.randn(inputs).to(dtype)
    expected = vector.float() @ packed.unpack(made)[:, :outputs]
    found = packed.product(vector[None], made, outputs)
    assert found.dtype == dtype and found.shape == (1, outputs)
    torch.testing.assert_close(found[0], expected.to(dtype), atol=1e-4, rtol=1e-2)


@pytest.mark.parametrize("bits", packed.BITS)
def test_a_weight_of_chatglm_is_rounded_once(own: ModuleType, bits: int) -> None:
    """half(code · scale), and not a product that is scaled at the end."""
    least = -(2 ** (bits - 1))
    codes = torch.randint(least, -least, (130, 70), dtype=torch.int8)
    scale = (torch.rand(130) / 50).half()
    vector = torch.randn(70)
    weight = (codes.float() * scale.float()[:, None]).half().double()
    found = own.packed_matvec(vector, packed.pack_codes(codes, bits), 130, bits, scale)
    torch.testing.assert_close(found.double(), weight @ vector.double(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("weights", ["plain", "int4"])
def test_replies_stay_the_same(
    own: ModuleType, made: Maker, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = loaded(made("llama"), weights=weights)
    found = parts(ask(engine, max_new_tokens=3))[2].output_ids
    monkeypatch.setattr(kernels, "on", lambda _: None)
    assert found == parts(ask(engine, max_new_tokens=3))[2].output_ids


def test_what_is_wrong_is_not_used(own: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler, for instance, or a GPU on which a kernel gives something else."""

    def broken(*_: Any) -> torch.Tensor:
        raise RuntimeError("Failed to find C compiler")

    for wrong in (broken, lambda *_: torch.zeros(100)):
        with monkeypatch.context() as changed:
            changed.setattr(own, "packed_matvec", wrong)
            assert kernels._kernels.__wrapped__(torch.device("cpu")) is None


def test_a_cpu_has_none() -> None:
    assert kernels.on(torch.ones(4)) is None
