"""RWKV-4's forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import tiny_rwkv
import torch
from torch import Tensor

from chatui.engine.architectures.rwkv.rwkv_modeling import wkv
from chatui.engine.engine import Engine
from chatui.engine.model import LoadedModel
from chatui.engine.network import PREFILL_CHUNK


def empty_sums(width: int) -> Tensor:
    return torch.stack([torch.zeros(width), torch.zeros(width), torch.full((width,), -1e30)])


@torch.inference_mode()
def test_the_average_equals_the_formula_of_the_paper() -> None:
    """Equation 16, computed directly in float64."""
    torch.manual_seed(0)
    key, value = torch.randn(12, 5) * 3, torch.randn(12, 5)
    decay, first = -torch.exp(torch.randn(5)), torch.randn(5)
    averages, _ = wkv(decay, first, key, value, empty_sums(5))
    for place in range(12):
        weights = [
            torch.exp((place - 1 - past) * decay.double() + key[past].double())
            for past in range(place)
        ]
        weights.append(torch.exp(first.double() + key[place].double()))
        total = sum(weight * value[past] for past, weight in enumerate(weights))
        expected = total / sum(weights)
        torch.testing.assert_close(averages[place].double(), expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_large_exponents_do_not_overflow(scale: float) -> None:
    torch.manual_seed(0)
    key, value = torch.randn(300, 8) * scale, torch.randn(300, 8)
    decay = -torch.exp(torch.linspace(-10, 20, 8))
    averages, sums = wkv(decay, torch.zeros(8), key, value, empty_sums(8))
    assert averages.isfinite().all()
    assert sums.isfinite().all()
    assert averages.abs().max() <= value.abs().max() + 1e-3


@torch.inference_mode()
def test_chunks_equal_one_pass(tmp_path: Path, load: Callable[..., Engine]) -> None:
    network = load(tiny_rwkv.raven(tmp_path))._loaded().network.model  # type: ignore[attr-defined]
    ids = torch.arange(2 * PREFILL_CHUNK) * 31 % 390
    at_once, state = network.read(ids, network.first_state())
    pieces = network.first_state()
    for piece in ids.split(7):
        logits, pieces = network.read(piece, pieces)
    torch.testing.assert_close(logits, at_once, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(pieces.shift, state.shift, atol=1e-4, rtol=1e-4)
    assert state.shift.shape == (2, 2, tiny_rwkv.WIDTH)
    assert state.sums.shape == (2, 3, tiny_rwkv.WIDTH)


def test_float16_activations_are_halved(
    tmp_path: Path,
    load: Callable[..., Engine],
    read: Callable[[LoadedModel, Sequence[int]], Tensor],
) -> None:
    """Activations of twelve blocks are halved twice, with the same logits."""
    file = tiny_rwkv.raven(tmp_path, layers=13, dtype="float16")
    half, full = load(file, dtype="float16")._loaded(), load(file, dtype="float32")._loaded()
    assert half.network.model.halve_every == 6  # type: ignore[attr-defined]
    ids = [5, 90, 17, 255, 300]
    torch.testing.assert_close(read(half, ids), read(full, ids), atol=0.15, rtol=0.05)
