"""Where a model runs and in which dtype, chosen by what is there unless the user says."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from chatui.engine.memory import FreedMemory, Need, available_bytes, gib
from chatui.engine.weights import TensorEntry
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


_TOLD_FROM_BYTES = 1_000_000_000
"""Of a smaller model nobody minds how much memory its dtype takes."""


@dataclass(frozen=True)
class Placement:
    """Where and how.

    Attributes:
        device: of all weights, unless a device map spreads them.
        dtype: of the floating point weights.
        notes: sentences on what was decided for the user.
    """

    device: torch.device
    dtype: torch.dtype
    notes: tuple[str, ...] = ()

    def maps(self, entry: TensorEntry) -> bool:
        """Whether a tensor stays in its file's pages and is never copied."""
        return (
            self.device.type == "cpu"
            and entry.file.suffix == ".safetensors"
            and sys.platform != "win32"
            and not (entry.dtype and entry.dtype.is_floating_point and entry.dtype != self.dtype)
        )


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
        raise ChatuiError(say("engine.no_device", device=wanted))
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def file_dtype(entries: Iterable[TensorEntry]) -> torch.dtype:
    """The floating point dtype that most of the bytes are in; float32 where there is none."""
    bytes_of: Counter[torch.dtype] = Counter()
    for entry in entries:
        if entry.dtype is not None and entry.dtype.is_floating_point:
            bytes_of[entry.dtype] += entry.bytes
    return bytes_of.most_common(1)[0][0] if bytes_of else torch.float32


def place(
    spec: ModelSpec, entries: tuple[TensorEntry, ...], need: Need, freed: FreedMemory
) -> Placement:
    """Decide on device and dtype, and whether the model fits there.

    Args:
        spec: with the user's wishes.
        entries: the weights.
        need: what the model takes besides, by dtype.
        freed: what unloading the present model gives back.

    Raises:
        ChatuiError: a device that is not there, an unknown dtype, or too little memory.
    """
    device = choose_device(spec.device)
    stored = file_dtype(entries)
    room = available_bytes(device) + freed.on(device)
    if spec.dtype != "auto":
        if spec.dtype not in DTYPES:
            raise ChatuiError(
                say("engine.unknown_dtype", dtype=spec.dtype, names=", ".join(DTYPES))
            )
        placement = Placement(device, DTYPES[spec.dtype])
    elif device.type == "cpu":
        placement = _on_cpu(device, stored, need, room)
    elif device.type == "mps" and stored == torch.float32:
        placement = Placement(device, torch.float16)
    else:
        placement = Placement(device, stored if stored in DTYPES.values() else torch.float16)
    if spec.device_map is None and need.total(placement.dtype) > room:
        raise ChatuiError(_too_large(placement, need, room))
    return placement


def _on_cpu(device: torch.device, stored: torch.dtype, need: Need, room: int) -> Placement:
    """float32, in which CPUs are fast and exact; bfloat16 where only that fits."""
    if stored in (torch.float16, torch.bfloat16):
        names = {"stored": str(stored).removeprefix("torch.")}
        if need.total(torch.float32) <= room:
            told = need.floats * torch.float32.itemsize >= _TOLD_FROM_BYTES
            notes = (say("engine.widened", **names),) if told else ()
            return Placement(device, torch.float32, notes)
        if need.total(torch.bfloat16) <= room:
            return Placement(device, torch.bfloat16, (say("engine.narrowed", **names),))
    return Placement(device, torch.float32)


def _too_large(placement: Placement, need: Need, room: int) -> str:
    """The sentence with the numbers and what would fit."""
    half = need.total(torch.bfloat16)
    ways = []
    if placement.dtype == torch.float32 and half <= room:
        ways.append(say("engine.fits_half", size=gib(half)))
    if need.total_int4() <= room:
        ways.append(say("engine.fits_int4", size=gib(need.total_int4())))
    if placement.device.type != "cpu":
        ways.append(say("engine.fits_offload"))
    return say(
        "engine.too_large",
        needed=gib(need.total(placement.dtype)),
        available=gib(room),
        device=placement.device,
        dtype=str(placement.dtype).removeprefix("torch."),
        ways=say("engine.way_or").join(ways) or say("engine.fits_smaller"),
    )
