"""How much memory a model takes, and how much there is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from chatui.catalog.memory_need import MemoryNeed, cache_size
from chatui.engine.weights import TensorEntry


@dataclass(frozen=True)
class FreedMemory:
    """What unloading the present model gives back.

    Attributes:
        device: where its weights are, e.g. "cpu", "cuda:0"; "" for no model.
        bytes: of its own memory, with what it keeps of conversations; pages of mapped files count
            as available already.
    """

    device: str = ""
    bytes: int = 0

    def on(self, device: torch.device) -> int:
        """Bytes that come free on ``device``."""
        kind, _, index = self.device.partition(":")
        # A tensor on "mps" says "mps:0".
        same = kind == device.type and int(index or 0) == (device.index or 0)
        return self.bytes if same else 0


NOTHING_FREED = FreedMemory()


def memory_need(entries: Iterable[TensorEntry], config: Any) -> MemoryNeed:
    """Count what the files and the config say."""
    floats = packed = 0
    for entry in entries:
        if entry.dtype is not None and entry.dtype.is_floating_point:
            floats += entry.bytes // entry.dtype.itemsize
        elif entry.dtype is None and not torch.cuda.is_available():
            # 8-bit floats, which transformers widens where no GPU computes with them.
            floats += entry.bytes
        else:
            packed += entry.bytes
    return MemoryNeed(floats, packed, cache_size(config.get_text_config(decoder=True).to_dict()))


def available_bytes(device: torch.device) -> int:
    """Memory that can still be taken on ``device``."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = int(psutil.virtual_memory().available)
    limit = _control_group_room()
    return free if limit is None else min(free, limit)


def process_bytes() -> int:
    """Memory that this process holds: of the machine, and what torch reserved on all GPUs."""
    held = int(psutil.Process().memory_info().rss)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        held += sum(map(torch.cuda.memory_reserved, range(torch.cuda.device_count())))
    return held


def _control_group_room() -> int | None:
    """Bytes left in the container's own limit (cgroup v2), if it has one."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        cached = 0
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "inactive_file":
                cached = int(value)
        return None if limit == "max" else int(limit) - used + cached
    except (OSError, ValueError):
        return None


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of Python or torch says that memory ran out.

    torch.OutOfMemoryError is a RuntimeError; on the CPU only the message tells.
    """
    told = "memory" in str(error).lower() and not is_gpu_lost(error)
    return isinstance(error, MemoryError) or told


def is_gpu_lost(error: Exception) -> bool:
    """Whether an error of torch says that this process can use its GPU no more.

    After any such error, for instance "CUDA error: an illegal memory access was encountered", every
    further call of CUDA in the process fails too.
    """
    told = any(words in str(error) for words in ("CUDA error", "Triton Error [CUDA]"))
    return told and "out of memory" not in str(error)


def driver_fault() -> str:
    """What CUDA says where a GPU's driver and this torch do not go together; "" for nothing."""
    if torch.version.cuda is None or torch.cuda.is_available():
        return ""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        told = str(error).strip().split("\n")[0]
        # Where no GPU is, there is no driver either.
        return "" if "no NVIDIA driver" in told or "No CUDA GPUs" in told else told
    return ""


def gib(count: int) -> str:
    """Bytes as GiB with one digit, e.g. "12.6"."""
    return f"{count / (1 << 30):.1f}"
