"""What is said of the dtype that was chosen."""

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
    """A model of so many float16 numbers on a CPU with plenty of memory."""
    weights = TensorEntry(Path("/m/model.safetensors"), "w", torch.float16, (floats,), 2 * floats)
    spec = ModelSpec("m", "/m", device="cpu")
    return place(spec, (weights,), MemoryNeed(floats), 512, FreedMemory("cpu", 1 << 50))


@pytest.mark.parametrize(("floats", "told"), [(6_600_000, False), (300_000_000, True)])
def test_only_a_large_model_is_said_to_run_wider_than_it_is_stored(floats: int, told: bool) -> None:
    placement = placed(floats)
    assert placement.dtype == torch.float32
    assert bool(placement.notes) is told


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that can be asked for, with 24 GiB free."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr("chatui.engine.placement.available_bytes", lambda _: 24 << 30)


def on(device: str, floats: int, stored: torch.dtype = torch.float16, **values: str) -> Placement:
    weights = TensorEntry(Path("/m/model.safetensors"), "w", stored, (floats,), 2 * floats)
    spec = ModelSpec("m", "/m", device=device, **values)
    return place(spec, (weights,), MemoryNeed(floats), 512, FreedMemory())


@pytest.mark.usefixtures("card")
def test_a_small_model_stays_on_the_cpu_unless_the_gpu_is_asked_for() -> None:
    small, large = on("auto", 6_600_000), on("auto", 300_000_000)
    assert (str(small.device), small.dtype, small.skipped_gpu) == ("cpu", torch.float32, "cuda:0")
    assert (str(large.device), large.dtype, large.skipped_gpu) == ("cuda:0", torch.float16, "")
    asked = on("cuda", 6_600_000)
    assert (str(asked.device), asked.skipped_gpu) == ("cuda:0", "")
    assert str(on("auto", 6_600_000, device_map="auto").device) == "cuda:0"


@pytest.mark.usefixtures("card")
def test_the_window_of_a_spread_model_fits_into_all_memory_together() -> None:
    """24 GiB on the card and as many beside it; 16 GB of weights, 131,072 bytes a token."""
    weights = TensorEntry(Path("/m/model.safetensors"), "w", torch.float16, (1,), 16 * 10**9)
    need = MemoryNeed(8 * 10**9, cache=CacheSize(65_536))

    def window(own: int, **values: Any) -> int:
        spec = ModelSpec("m", "/m", device_map="auto", **values)
        return place(spec, (weights,), need, own, FreedMemory()).window

    assert window(131_072) == 131_072
    assert 200_000 < window(1_000_000) < 300_000
    assert window(1_000_000, context=4096) == 4096
    assert window(1_000_000, context=500_000) == 500_000, "the disk may hold what does not fit"


def test_without_a_gpu_nothing_is_passed_over() -> None:
    assert on("auto", 6_600_000).skipped_gpu == ""


@pytest.mark.usefixtures("card")
def test_a_gpu_too_old_for_bfloat16_takes_float16_and_says_so(
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
    # Who asks for it gets it: torch emulates it there.
    assert on("cuda", 9, torch.bfloat16, dtype="bfloat16").dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("The NVIDIA driver on your system is too old (found version 11040).", True),
        ("Unexpected error from cudaGetDeviceCount(). Error 803: unsupported combination", True),
        ("Found no NVIDIA driver on your system.", False),
    ],
)
def test_a_driver_that_does_not_fit_this_torch_is_told(
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


@pytest.mark.usefixtures("card")
def test_a_full_gpu_names_the_cpu_where_that_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_memory_of_another_device_is_no_room_here() -> None:
    weights = TensorEntry(Path("/m/model.safetensors"), "w", torch.float32, (1 << 45,), 1 << 47)
    spec = ModelSpec("m", "/m", device="cpu")
    need = MemoryNeed(1 << 45)
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
    assert placement.is_mapped(TensorEntry(Path(name), "w", dtype, (4,), 16)) is maps


@pytest.mark.parametrize("wanted", ["bogus", "cuda:7"])
def test_a_device_map_that_is_none_is_refused_with_what_would_be(wanted: str) -> None:
    with pytest.raises(ChatuiError, match=f"Unknown device map “{wanted}”; use auto, balanced"):
        on("cpu", 1000, device_map=wanted)
    assert str(on("cpu", 1000, device_map="sequential").device) == "cpu"
