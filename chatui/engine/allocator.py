"""Memory kept for the next token or given back to the system; with glibc, on Linux, alone."""

from __future__ import annotations

import ctypes
import mmap
import sys

from torch import Tensor

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of glibc's malloc.h."""
_KEPT_BYTES = 8 << 20


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


def keep_small_blocks() -> None:
    """mallopt: let blocks of some megabytes stay with the process when they are freed.

    What is made anew for each token, such as a copy of the logits, is otherwise given back and
    cleared by the system each time, which takes longer than to compute it.
    """
    if sys.platform.startswith("linux"):
        change = getattr(ctypes.CDLL(None), "mallopt", None)
        if change is not None:
            change(_M_MMAP_THRESHOLD, _KEPT_BYTES)
            change(_M_TRIM_THRESHOLD, 4 * _KEPT_BYTES)
