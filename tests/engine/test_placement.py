"""Choice of device, dtype and window, and the notes on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from chatui.catalog.memory_need import CacheSize, MemoryNeed
from chatui.engine.memory import FreedMemory
from chatui.engine.placement import Placement, place
from chatui.engine.weights import TensorEntry
from chatui.errors import ChatuiError
from chatui.messages import ModelSpec


def placed(floats: int) -> Placement:
    """Place a float16 model with ``floats`` parameters on a CPU with enough memory."""
    weights = TensorEntry(Path("/m/model.safetensors"), "w", torch.float16, (floats,), 2 * floats)
    spec = ModelSpec("m", "/m", device="cpu")
    return place(spec, (weights,), MemoryNeed(floats), 512, FreedMemory("cpu", 1 << 50))


@pytest.mark.parametrize(("floats", "told"), [(6_600_000, False), (300_000_000, True)])
def test_only_large_models_get_a_note_on_widened_weights(floats: int, told: bool) -> None:
    placement = placed(floats)
    assert placement.dtype == torch.float32
    assert bool(placement.notes) is told


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a GPU with 24 GiB free."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("chatui.engine.placement.available_bytes", lambda _: 24 << 30)


def on(device: str, floats: int, stored: torch.dtype = torch.float16, **values: str) -> Placement:
    weights = TensorEntry(Path("/m/model.safetensors"), "w", stored, (floats,), 2 * floats)
    spec = ModelSpec("m", "/m", device=device, **values)
    return place(spec, (weights,), MemoryNeed(floats), 512, FreedMemory())


@pytest.mark.usefixtures("gpu")
def test_small_models_stay_on_the_cpu_by_default() -> None:
    small, large = on("auto", 6_600_000), on("auto", 300_000_000)
    assert (str(small.device), small.dtype, small.skipped_gpu) == ("cpu", torch.float32, "cuda:0")
    assert (str(large.device), large.dtype, large.skipped_gpu) == ("cuda:0", torch.float16, "")
    asked = on("cuda", 6_600_000)
    assert (str(asked.device), asked.skipped_gpu) == ("cuda:0", "")
    assert str(on("auto", 6_600_000, device_map="auto").device) == "cuda:0"


@pytest.mark.usefixtures("gpu")
def test_a_spread_model_uses_the_memory_of_all_devices() -> None:
    """24 GiB are free on the GPU and on the CPU; 16 GB of weights, 131,072 bytes a token."""
    weights = TensorEntry(Path("/m/model.safetensors"), "w", torch.float16, (1,), 16 * 10**9)
    need = MemoryNeed(8 * 10**9, cache=CacheSize(65_536))

    def window(own: int, **values: Any) -> int:
        spec = ModelSpec("m", "/m", device_map="auto", **values)
        return place(spec, (weights,), need, own, FreedMemory()).window

    assert window(131_072) == 131_072
    assert 200_000 < window(1_000_000) < 300_000
    assert window(1_000_000, context=4096) == 4096
    assert window(1_000_000, context=500_000) == 500_000, "the rest may be offloaded to disk"


def test_no_gpu_is_skipped_without_a_gpu() -> None:
    assert on("auto", 6_600_000).skipped_gpu == ""


@pytest.mark.usefixtures("gpu")
def test_old_gpus_use_float16_for_bfloat16_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_new(new: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: new)

    is_new(True)
    placed = on("cuda", 300_000_000, torch.bfloat16)
    assert (placed.dtype, placed.notes) == (torch.bfloat16, ())
    is_new(False)
    placed = on("cuda", 300_000_000, torch.bfloat16)
    assert placed.dtype == torch.float16 and "does not support bfloat16" in placed.notes[0]
    assert on("cuda", 300_000_000, torch.float16).notes == ()
    # An explicit dtype is used: torch emulates it.
    assert on("cuda", 9, torch.bfloat16, dtype="bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("The NVIDIA driver on your system is too old (found version 11040).", True),
        ("Unexpected error from cudaGetDeviceCount(). Error 803: unsupported combination", True),
        ("Found no NVIDIA driver on your system.", False),
    ],
)
def test_a_driver_mismatch_is_reported(
    told: str, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init() -> None:
        raise RuntimeError(told)

    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.cuda, "init", init)
    placed = on("auto", 300_000_000, torch.float32)
    assert str(placed.device) == "cpu" and any(told in note for note in placed.notes) is said
    with pytest.raises(ChatuiError, match="Update the driver" if said else "not available here"):
        on("cuda", 9)


@pytest.mark.usefixtures("gpu")
def test_a_full_gpu_suggests_the_cpu_if_it_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def free_on_cpu(count: int) -> None:
        monkeypatch.setattr(
            "chatui.engine.placement.available_bytes",
            lambda device: count if device.type == "cpu" else 8 << 30,
        )

    free_on_cpu(32 << 30)
    with pytest.raises(ChatuiError, match=r"cuda:0.*--device cpu or --device-map auto"):
        on("auto", 7_000_000_000)
    free_on_cpu(8 << 30)
    with pytest.raises(ChatuiError) as told:
        on("auto", 7_000_000_000)
    assert "--device cpu" not in str(told.value)


def test_memory_freed_on_another_device_does_not_count() -> None:
    weights = TensorEntry(Path("/m/model.safetensors"), "w", torch.float32, (1 << 45,), 1 << 47)
    spec = ModelSpec("m", "/m", device="cpu")
    need = MemoryNeed(1 << 45)
    assert place(spec, (weights,), need, 512, FreedMemory("cpu", 1 << 50)).device.type == "cpu"
    for freed in (FreedMemory("cuda:0", 1 << 50), FreedMemory("mps", 1 << 50), FreedMemory()):
        with pytest.raises(ChatuiError, match="B is free"):
            place(spec, (weights,), need, 512, freed)


@pytest.mark.parametrize(
    ("freed", "device", "count"),
    [("mps:0", "mps", 7), ("cuda:0", "cuda:1", 0), ("cuda:1", "cuda:1", 7), ("gpu", "cpu", 0)],
)
def test_freed_memory_by_device(freed: str, device: str, count: int) -> None:
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
def test_which_weights_are_mapped(name: str, dtype: torch.dtype, maps: bool) -> None:
    placement = Placement(torch.device("cpu"), torch.float32)
    assert placement.is_mapped(TensorEntry(Path(name), "w", dtype, (4,), 16)) is maps


@pytest.mark.parametrize("wanted", ["bogus", "cuda:7"])
def test_unknown_device_maps_are_refused(wanted: str) -> None:
    with pytest.raises(ChatuiError, match=f"Unknown device map “{wanted}”; use auto, balanced"):
        on("cpu", 1000, device_map=wanted)
    assert str(on("cpu", 1000, device_map="sequential").device) == "cpu"
