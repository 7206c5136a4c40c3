"""Memory: what is available, errors when it runs out, and control of glibc's allocator."""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt, from glibc's malloc.h."""
_KEPT_BYTES = 8 << 20


@dataclass(frozen=True)
class FreedMemory:
    """Memory that unloading the current model frees.

    Attributes:
        device: the device of its weights, e.g. "cpu", "cuda:0"; "" for no model.
        bytes: its allocated memory with its prompt cache. Mapped weights are not included: their
            pages already count as available.
    """

    device: str = ""
    bytes: int = 0

    def on(self, device: torch.device) -> int:
        """Return the bytes freed on ``device``."""
        kind, _, index = self.device.partition(":")
        # torch writes "mps" as "mps:0".
        same = kind == device.type and int(index or 0) == (device.index or 0)
        return self.bytes if same else 0


NOTHING_FREED = FreedMemory()


def available_bytes(device: torch.device) -> int:
    """Return the bytes that can still be allocated on ``device``."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = int(psutil.virtual_memory().available)
    limit = _control_group_room()
    return free if limit is None else min(free, limit)


def process_bytes() -> int:
    """Return the bytes that this process uses: resident memory, and torch's on all GPUs."""
    used = int(psutil.Process().memory_info().rss)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        used += sum(map(torch.cuda.memory_reserved, range(torch.cuda.device_count())))
    return used


def _control_group_room() -> int | None:
    """Return the bytes left of the container's memory limit (cgroup v2); None without one."""
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
    """True for an error of Python or torch that means out of memory.

    torch.OutOfMemoryError is a RuntimeError; on the CPU torch raises a plain RuntimeError.
    """
    by_message = "memory" in str(error).lower() and not is_gpu_lost(error)
    return isinstance(error, MemoryError) or by_message


def is_gpu_lost(error: Exception) -> bool:
    """True for an error of torch after which this process can no longer use its GPU.

    After such an error, for instance "CUDA error: an illegal memory access was encountered", all
    further CUDA calls of the process fail.
    """
    by_message = any(words in str(error) for words in ("CUDA error", "Triton Error [CUDA]"))
    return by_message and "out of memory" not in str(error)


def driver_fault() -> str:
    """Return CUDA's message if the GPU's driver does not match torch; "" if it does."""
    if torch.version.cuda is None or torch.cuda.is_available():
        return ""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        message = str(error).strip().split("\n")[0]
        # A machine without a GPU has no driver.
        no_gpu = "no NVIDIA driver" in message or "No CUDA GPUs" in message
        return "" if no_gpu else message
    return ""


def forget_pages(tensor: Tensor) -> None:
    """Release the pages of a tensor that is mapped from a file: madvise(MADV_DONTNEED).

    A later access reads the file again. Only for mapped tensors: others would lose their data.
    """
    page = mmap.PAGESIZE
    storage = tensor.untyped_storage()
    first = -(-storage.data_ptr() // page) * page
    last = (storage.data_ptr() + storage.nbytes()) // page * page
    if last > first and (madvise := _libc_function("madvise")):
        madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)


def _libc_function(name: str) -> Any:
    """Return a function of the C library; None on other systems and if it has none."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None


def trim_heap() -> None:
    """Return freed memory that glibc still holds to the system: malloc_trim."""
    if trim := _libc_function("malloc_trim"):
        trim(0)


def free_unused() -> None:
    """Return all memory without references to the system and the GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim_heap()


def keep_small_blocks() -> None:
    """Keep freed blocks of up to 8 MiB in the process: mallopt.

    Otherwise glibc returns buffers that every token needs, such as a copy of the logits, to the
    system, and the system clears them again, which takes longer than computing them.
    """
    if change := _libc_function("mallopt"):
        change(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        change(_M_TRIM_THRESHOLD, 4 * _KEPT_BYTES)
