"""What is said of the dtype that was chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from chatui.catalog.memory_need import Need
from chatui.engine.memory import FreedMemory
from chatui.engine.placement import Placement, place
from chatui.engine.weights import TensorEntry
from chatui.errors import ChatuiError
from chatui.messages import ModelSpec


def placed(floats: int) -> Placement:
    """A model of so many float16 numbers on a CPU with plenty of memory."""
    weights = TensorEntry(Path("/m/model.safetensors"), "w", torch.float16, (floats,), 2 * floats)
    spec = ModelSpec("m", "/m", device="cpu")
    return place(spec, (weights,), Need(floats), 512, FreedMemory("cpu", 1 << 50))


@pytest.mark.parametrize(("floats", "told"), [(6_600_000, False), (300_000_000, True)])
def test_only_a_large_model_is_said_to_run_wider_than_it_is_stored(floats: int, told: bool) -> None:
    placement = placed(floats)
    assert placement.dtype == torch.float32
    assert bool(placement.notes) is told


def test_memory_of_another_device_is_no_room_here() -> None:
    weights = TensorEntry(Path("/m/model.safetensors"), "w", torch.float32, (1 << 45,), 1 << 47)
    spec = ModelSpec("m", "/m", device="cpu")
    need = Need(1 << 45)
    assert place(spec, (weights,), need, 512, FreedMemory("cpu", 1 << 50)).device.type == "cpu"
    for freed in (FreedMemory("cuda:0", 1 << 50), FreedMemory("mps", 1 << 50), FreedMemory()):
        with pytest.raises(ChatuiError, match="GiB are free"):
            place(spec, (weights,), need, 512, freed)


@pytest.mark.parametrize(
    ("freed", "device", "count"),
    [("mps:0", "mps", 7), ("cuda:0", "cuda:1", 0), ("cuda:1", "cuda:1", 7), ("gpu", "cpu", 0)],
)
def test_freed_memory_is_told_by_its_device(freed: str, device: str, count: int) -> None:
    assert FreedMemory(freed, 7).on(torch.device(device)) == count


@pytest.mark.parametrize(
    ("name", "dtype", "maps"),
    [
        ("m.safetensors", torch.float32, True),
        ("m.safetensors", torch.float16, False),
        ("m.safetensors", torch.uint8, True),
        ("m.bin", torch.float32, False),
    ],
)
def test_mapped_weights_are_counted_once(name: str, dtype: torch.dtype, maps: bool) -> None:
    placement = Placement(torch.device("cpu"), torch.float32)
    assert placement.maps(TensorEntry(Path(name), "w", dtype, (4,), 16)) is maps
