"""Threads of torch: how many, and how they wait for each other."""

from __future__ import annotations

import os
from functools import cache

from chatui.catalog.memory_need import SMALL_MODEL


def limit_spinning() -> None:
    """Make waiting threads of torch sleep sooner; call it before torch is imported.

    GNU OpenMP lets them spin for about a millisecond, which can keep other programs, such as the
    app, and the thread that they wait for from getting a core.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "4000")


def use_threads(parameters: int | None) -> None:
    """Let torch use all cores, or one for a small model, whose operations are too short to divide.

    Args:
        parameters: the model's size; None restores all cores.
    """
    import torch

    all_threads = _all_threads()
    small = parameters is not None and parameters < SMALL_MODEL
    torch.set_num_threads(1 if small else all_threads)


@cache
def _all_threads() -> int:
    """Return torch's default, which environment variables can change."""
    import torch

    return torch.get_num_threads()
