"""Control of glibc's allocator: keep small blocks, return large ones. Linux only."""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys

import torch
from torch import Tensor

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt, from glibc's malloc.h."""
_KEPT_BYTES = 8 << 20


def forget_pages(tensor: Tensor) -> None:
    """Release the pages of a tensor that is mapped from a file: madvise(MADV_DONTNEED).

    A later access reads the file again. Only for mapped tensors: others would lose their data.
    """
    if not sys.platform.startswith("linux"):
        return
    page = mmap.PAGESIZE
    storage = tensor.untyped_storage()
    first = -(-storage.data_ptr() // page) * page
    last = (storage.data_ptr() + storage.nbytes()) // page * page
    if last > first:
        madvise = ctypes.CDLL(None).madvise
        madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)


def trim_heap() -> None:
    """Return freed memory that glibc still holds to the system: malloc_trim."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
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
    if sys.platform.startswith("linux"):
        change = getattr(ctypes.CDLL(None), "mallopt", None)
        if change is not None:
            change(_M_MMAP_THRESHOLD, _KEPT_BYTES)
            change(_M_TRIM_THRESHOLD, 4 * _KEPT_BYTES)
