"""Memory given back to the system that would otherwise stay with the process; on Linux alone."""

from __future__ import annotations

import ctypes
import mmap
import sys

from torch import Tensor


def forget_pages(tensor: Tensor) -> None:
    """madvise(MADV_DONTNEED) on the whole pages inside the storage of a tensor mapped from a file.

    What is wanted after all is read from the file again; memory of no file would be lost.
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
    """malloc_trim: glibc keeps much of what is freed."""
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
