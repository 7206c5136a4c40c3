"""Where a model runs and in which dtype, chosen by what is there unless the user says."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from chatui.catalog.memory_need import SMALL_MODEL, MemoryNeed, WindowRange, best_fit
from chatui.engine.memory import FreedMemory, available_bytes, driver_fault, gib
from chatui.engine.weights import TensorEntry
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


BITS = {"int8": 8, "int4": 4}
"""Of the weights, by what a spec calls them."""

_TOLD_FROM_BYTES = 1_000_000_000
"""Of a smaller model nobody minds how much memory its dtype takes."""

_SMALL_WINDOW = 256
"""Tokens: a smaller window is not worth naming."""

_SPREADS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Ways to spread a model over devices that transformers knows."""


@dataclass(frozen=True)
class Placement:
    """Where and how.

    Attributes:
        device: of all weights, unless a device map spreads them.
        dtype: of the floating point weights.
        notes: sentences on the dtype that was decided for the user.
        window: tokens, prompt and reply together.
        room: bytes that were free on the device, what unloading gives back included.
        passed_over: the device that a small model leaves alone; "" for none.
        bits: 8 or 4 where the weights are quantised while they are read; None leaves them.
    """

    device: torch.device
    dtype: torch.dtype
    notes: tuple[str, ...] = ()
    window: int = 0
    room: int = 0
    passed_over: str = ""
    bits: int | None = None

    @property
    def dtype_name(self) -> str:
        """What the weights are in, e.g. "float32", "int8"."""
        return f"int{self.bits}" if self.bits else str(self.dtype).removeprefix("torch.")

    def is_mapped(self, entry: TensorEntry) -> bool:
        """Whether a tensor stays in its file's pages and is never copied."""
        return (
            self.device.type == "cpu"
            and self.bits is None
            and entry.file.suffix == ".safetensors"
            and sys.platform != "win32"
            and not (entry.dtype and entry.dtype.is_floating_point and entry.dtype != self.dtype)
        )


def check_device_map(wanted: str) -> None:
    """Refuse a device map that is no way of accelerate's to spread a model, and no device.

    Raises:
        ChatuiError: it is neither.
    """
    if wanted not in _SPREADS:
        try:
            choose_device(wanted)
        except ChatuiError as error:
            ways = ", ".join(_SPREADS)
            raise ChatuiError(say("engine.unknown_map", map=wanted, ways=ways)) from error


def choose_device(wanted: str) -> torch.device:
    """The device called ``wanted``; "auto" takes CUDA, else MPS, else the CPU.

    Raises:
        ChatuiError: it is not there.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ChatuiError(say("engine.unknown_device", device=wanted)) from error
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        fault = driver_fault() if device.type == "cuda" else ""
        told = say("engine.no_device", device=wanted)
        raise ChatuiError(say("engine.driver", reason=fault) if fault else told)
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def file_dtype(entries: Iterable[TensorEntry]) -> torch.dtype:
    """The floating point dtype that most of the bytes are in; float32 if there is none."""
    bytes_of: Counter[torch.dtype] = Counter()
    for entry in entries:
        if entry.dtype is not None and entry.dtype.is_floating_point:
            bytes_of[entry.dtype] += entry.bytes
    return bytes_of.most_common(1)[0][0] if bytes_of else torch.float32


def place(
    spec: ModelSpec,
    entries: tuple[TensorEntry, ...],
    need: MemoryNeed,
    own_window: int,
    freed: FreedMemory,
    quantised: Mapping[int, MemoryNeed] | None = None,
) -> Placement:
    """Decide on device, dtype, window and bits of the weights, and whether the model fits there.

    Args:
        spec: with the user's wishes.
        entries: the weights.
        need: what the model takes, by dtype and window.
        own_window: the model's, in tokens.
        freed: what unloading the present model gives back.
        quantised: what it takes with its weights in so many bits; None if they cannot be.

    Raises:
        ChatuiError: a device that is not there, an unknown dtype, or too little memory.
    """
    device, passed_over = choose_device(spec.device), ""
    if spec.device_map is not None:
        check_device_map(spec.device_map)
    small = need.floats < SMALL_MODEL and not need.packed and spec.device_map is None
    if spec.device == "auto" and small and device.type != "cpu":
        device, passed_over = torch.device("cpu"), str(device)
    stored = file_dtype(entries)
    room = available_bytes(device) + freed.on(device)
    window = WindowRange.for_model(spec.context, own_window)
    quantised = quantised or {}
    dtypes = _dtypes(spec.dtype, device, stored)
    bits = BITS.get(spec.weights) if quantised else None
    taken = quantised[bits] if bits else need
    if bits and device.type == "cpu":
        dtypes = dtypes[:1]
    found = best_fit(taken, [dtype.itemsize for dtype in dtypes], window, room)
    if found is None and spec.weights == spec.dtype == "auto":
        for fewer, smaller in quantised.items():
            found = best_fit(smaller, [dtypes[0].itemsize], window, room)
            if found is not None:
                told = say("engine.quantised_to_fit", weights=f"int{fewer}")
                return Placement(device, dtypes[0], (told,), found.window, room, passed_over, fewer)
    if found is None and spec.device_map is None:
        raise ChatuiError(_too_large(device, dtypes[0], bits, taken, quantised, window, room))
    dtype = next((one for one in dtypes if found and one.itemsize == found.dtype_bytes), dtypes[0])
    tells = spec.dtype == "auto" and device.type != "mps" and bits is None
    notes = _dtype_notes(stored, dtype, need) if tells else ()
    if spec.device == "auto" and device.type == "cpu" and (fault := driver_fault()):
        notes += (say("engine.driver", reason=fault),)
    if spec.device_map is not None:
        # The layers' caches come to lie where accelerate puts the layers.
        cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
        all_devices = [torch.device("cpu"), *(torch.device("cuda", n) for n in range(cards))]
        others = sum(available_bytes(other) for other in all_devices if other != device)
        found = best_fit(taken, (dtype.itemsize,), window, room + others)
    tokens = found.window if found else window.least
    return Placement(device, dtype, notes, tokens, room, passed_over, bits)


def _dtypes(wanted: str, device: torch.device, stored: torch.dtype) -> tuple[torch.dtype, ...]:
    """The dtypes that may be taken, the best first; raises ChatuiError for an unknown one."""
    if wanted != "auto":
        if wanted not in DTYPES:
            raise ChatuiError(say("engine.unknown_dtype", dtype=wanted, names=", ".join(DTYPES)))
        return (DTYPES[wanted],)
    if device.type == "cpu":
        # CPUs are fast and exact in float32; of bfloat16 more fits.
        half = stored in (torch.float16, torch.bfloat16)
        return (torch.float32, torch.bfloat16) if half else (torch.float32,)
    if device.type == "mps" and stored == torch.float32:
        return (torch.float16,)
    if device.type == "cuda" and stored == torch.bfloat16:
        # GPUs compute in it themselves from compute capability 8.0 on.
        own = torch.cuda.is_bf16_supported(including_emulation=False)
        return (stored if own else torch.float16,)
    return (stored if stored in DTYPES.values() else torch.float16,)


def _dtype_notes(stored: torch.dtype, dtype: torch.dtype, need: MemoryNeed) -> tuple[str, ...]:
    """What is worth saying of a dtype that is not the file's."""
    names = {"stored": str(stored).removeprefix("torch.")}
    if stored == torch.float32 or dtype == stored:
        return ()
    if dtype == torch.float16:
        return (say("engine.no_bfloat16"),) if stored == torch.bfloat16 else ()
    if dtype == torch.float32:
        told = need.floats * dtype.itemsize >= _TOLD_FROM_BYTES
        return (say("engine.widened", **names),) if told else ()
    return (say("engine.narrowed", **names),)


def _too_large(
    device: torch.device,
    dtype: torch.dtype,
    bits: int | None,
    need: MemoryNeed,
    quantised: Mapping[int, MemoryNeed],
    window: WindowRange,
    room: int,
) -> str:
    """The sentence with the numbers and what would fit."""
    ways = []
    half = need.total(2, window.least)
    if dtype == torch.float32 and half <= room and bits is None:
        ways.append(say("engine.fits_half", size=gib(half)))
    smaller = WindowRange(min(_SMALL_WINDOW, window.least), window.least)
    tokens = smaller.largest(lambda tokens: need.total(dtype.itemsize, tokens) <= room)
    if need.total(dtype.itemsize, tokens) <= room:
        ways.append(say("engine.fits_window", tokens=tokens))
    for fewer, smaller_need in quantised.items():
        size = smaller_need.total(dtype.itemsize, window.least)
        if size <= room and (bits is None or fewer < bits):
            ways.append(say("engine.fits_quantised", weights=f"int{fewer}", size=gib(size)))
    if device.type != "cpu":
        if half <= available_bytes(torch.device("cpu")):
            ways.append("--device cpu")
        ways.append(say("engine.fits_offload"))
    return say(
        "engine.too_large",
        needed=gib(need.total(dtype.itemsize, window.least)),
        available=gib(room),
        device=device,
        dtype=f"int{bits}" if bits else str(dtype).removeprefix("torch."),
        window=window.least,
        ways=say("engine.way_or").join(ways) or say("engine.fits_smaller"),
    )
