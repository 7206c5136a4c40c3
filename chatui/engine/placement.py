"""Choice of a model's device, dtype, quantisation and context window."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from chatui import readable
from chatui.catalog.memory_need import (
    SMALL_MODEL,
    MemoryNeed,
    WindowRange,
    best_fit,
    cache_size,
)
from chatui.engine.memory import FreedMemory, available_bytes, driver_fault
from chatui.engine.weights import TensorEntry, is_mapped
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


BITS = {"int8": 8, "int4": 4}
"""Bits of quantised weights, by the values of a spec's ``weights``."""

_NOTE_BYTES = 1_000_000_000
"""Bytes in float32 from which a note says that the weights were widened."""

_SMALL_WINDOW = 256
"""Tokens of the smallest window that an error suggests."""

_DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""The strategies of transformers to spread a model over devices."""


@dataclass(frozen=True)
class Placement:
    """Device, dtype, quantisation and context window of a model.

    Attributes:
        device: device of all weights, unless a device map spreads them.
        dtype: dtype of the floating point weights.
        notes: sentences for the user about an automatic choice.
        window: context window in tokens, prompt and reply together.
        room: free memory on the device in bytes, including what unloading frees.
        skipped_gpu: faster device that is not used for a small model; "" for none.
        bits: 8 or 4 if the weights are quantised while they are read; None if not.
    """

    device: torch.device
    dtype: torch.dtype
    notes: tuple[str, ...] = ()
    window: int = 0
    room: int = 0
    skipped_gpu: str = ""
    bits: int | None = None

    @property
    def dtype_name(self) -> str:
        """The format of the weights, e.g. "float32", "int8"."""
        return f"int{self.bits}" if self.bits else str(self.dtype).removeprefix("torch.")

    def is_mapped(self, entry: TensorEntry) -> bool:
        """True if a tensor is mapped from its file and never copied."""
        return is_mapped(entry, None if self.bits else self.dtype, self.device)


def memory_need(entries: Iterable[TensorEntry], config: Any) -> MemoryNeed:
    """Return the memory that a model needs, by the headers of its files and its config."""
    floats = packed = 0
    for entry in entries:
        if entry.dtype and entry.is_float:
            floats += math.prod(entry.shape)
        elif entry.dtype is None and not torch.cuda.is_available():
            # transformers widens 8-bit floats if there is no GPU to compute with them.
            floats += entry.bytes
        else:
            packed += entry.bytes
    return MemoryNeed(floats, packed, cache_size(config.get_text_config(decoder=True).to_dict()))


def check_device_map(wanted: str) -> None:
    """Check a device map.

    Raises:
        ChatuiError: it is neither a strategy of transformers nor an available device.
    """
    if wanted not in _DEVICE_MAPS:
        try:
            choose_device(wanted)
        except ChatuiError as error:
            ways = ", ".join(_DEVICE_MAPS)
            raise ChatuiError(say("engine.unknown_map", map=wanted, ways=ways)) from error


def choose_device(wanted: str) -> torch.device:
    """Return the device ``wanted``; "auto" is CUDA, else MPS, else the CPU.

    Raises:
        ChatuiError: the device is not available.
    """
    if wanted == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise ChatuiError(say("engine.unknown_device", device=wanted)) from error
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        if device.type == "cuda" and (fault := driver_fault()):
            raise ChatuiError(say("engine.driver", reason=fault))
        raise ChatuiError(say("engine.no_device", device=wanted))
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def file_dtype(entries: Iterable[TensorEntry]) -> torch.dtype:
    """Return the floating point dtype of most of the bytes; float32 if there is none."""
    bytes_of: Counter[torch.dtype] = Counter()
    for entry in entries:
        if entry.dtype and entry.is_float:
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
    """Choose device, dtype, quantisation and window, and check that the model fits into memory.

    Args:
        spec: the model with the user's options.
        entries: the weights.
        need: memory that the model needs.
        own_window: the model's context window in tokens.
        freed: memory that unloading the current model frees.
        quantised: memory needed with quantised weights, by bits; None if they cannot be quantised.

    Raises:
        ChatuiError: the device is not available, the dtype is unknown, or memory is too small.
    """
    device, skipped_gpu = choose_device(spec.device), ""
    if spec.device_map is not None:
        check_device_map(spec.device_map)
    small = need.floats < SMALL_MODEL and not need.packed and spec.device_map is None
    if spec.device == "auto" and small and device.type != "cpu":
        device, skipped_gpu = torch.device("cpu"), str(device)
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
                note = say("engine.quantised_to_fit", weights=f"int{fewer}")
                return Placement(device, dtypes[0], (note,), found.window, room, skipped_gpu, fewer)
    if found is None and spec.device_map is None:
        raise ChatuiError(_too_large(device, dtypes[0], bits, taken, quantised, window, room))
    dtype = next((one for one in dtypes if found and one.itemsize == found.dtype_bytes), dtypes[0])
    has_notes = spec.dtype == "auto" and device.type != "mps" and bits is None
    notes = _dtype_notes(stored, dtype, need) if has_notes else ()
    if spec.device == "auto" and device.type == "cpu" and (fault := driver_fault()):
        notes += (say("engine.driver", reason=fault),)
    if spec.device_map is not None:
        # The cache of each layer is on the layer's device.
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        all_devices = [torch.device("cpu"), *(torch.device("cuda", n) for n in range(gpus))]
        others = sum(available_bytes(other) for other in all_devices if other != device)
        found = best_fit(taken, (dtype.itemsize,), window, room + others)
    tokens = found.window if found else window.least
    return Placement(device, dtype, notes, tokens, room, skipped_gpu, bits)


def _dtypes(wanted: str, device: torch.device, stored: torch.dtype) -> tuple[torch.dtype, ...]:
    """Return the possible dtypes, best first; raises ChatuiError for an unknown one."""
    if wanted != "auto":
        if wanted not in DTYPES:
            raise ChatuiError(say("engine.unknown_dtype", dtype=wanted, names=", ".join(DTYPES)))
        return (DTYPES[wanted],)
    if device.type == "cpu":
        # float32 is fast and exact on CPUs; bfloat16 halves the memory.
        half = stored in (torch.float16, torch.bfloat16)
        return (torch.float32, torch.bfloat16) if half else (torch.float32,)
    if device.type == "mps" and stored == torch.float32:
        return (torch.float16,)
    if device.type == "cuda" and stored == torch.bfloat16:
        # GPUs before compute capability 8.0 only emulate bfloat16.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return (stored if native else torch.float16,)
    return (stored if stored in DTYPES.values() else torch.float16,)


def _dtype_notes(stored: torch.dtype, dtype: torch.dtype, need: MemoryNeed) -> tuple[str, ...]:
    """Return a note if the dtype differs from the file's."""
    names = {"stored": str(stored).removeprefix("torch.")}
    if stored == torch.float32 or dtype == stored:
        return ()
    if dtype == torch.float16:
        return (say("engine.no_bfloat16"),) if stored == torch.bfloat16 else ()
    if dtype == torch.float32:
        large = need.floats * dtype.itemsize >= _NOTE_BYTES
        return (say("engine.widened", **names),) if large else ()
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
    """Return the error sentence with the sizes and the options that fit."""
    ways = []
    half = need.total(2, window.least)
    if dtype == torch.float32 and half <= room and bits is None:
        ways.append(say("engine.fits_half", size=readable.size(half)))
    smaller = WindowRange(min(_SMALL_WINDOW, window.least), window.least)
    tokens = smaller.largest(lambda tokens: need.total(dtype.itemsize, tokens) <= room)
    if need.total(dtype.itemsize, tokens) <= room:
        ways.append(say("engine.fits_window", tokens=tokens))
    for fewer, smaller_need in quantised.items():
        size = smaller_need.total(dtype.itemsize, window.least)
        if size <= room and (bits is None or fewer < bits):
            ways.append(
                say("engine.fits_quantised", weights=f"int{fewer}", size=readable.size(size))
            )
    if device.type != "cpu":
        if half <= available_bytes(torch.device("cpu")):
            ways.append("--device cpu")
        ways.append(say("engine.fits_offload"))
    return say(
        "engine.too_large",
        needed=readable.size(need.total(dtype.itemsize, window.least)),
        available=readable.size(room),
        device=device,
        dtype=f"int{bits}" if bits else str(dtype).removeprefix("torch."),
        window=window.least,
        ways=say("engine.way_or").join(ways) or say("engine.fits_smaller"),
    )
