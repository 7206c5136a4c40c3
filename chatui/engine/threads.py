"""How many cores a model's arithmetic takes, and how its threads wait for each other."""

from __future__ import annotations

import os
from functools import cache

from chatui.catalog.memory_need import SMALL_MODEL


def limit_spinning() -> None:
    """Let torch's threads sleep soon when they wait for each other; before torch is imported.

    GNU OpenMP lets them spin for about a millisecond. Where anything else runs besides, the
    screen for instance, the thread that is waited for may then not get a core at all.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "4000")


def use_threads(parameters: int | None) -> None:
    """Let torch use all cores for a model of so many parameters, or one if it is small.

    The products of a small model are too short to be shared out. None restores all cores.
    """
    import torch

    all_threads = _all_threads()
    small = parameters is not None and parameters < SMALL_MODEL
    torch.set_num_threads(1 if small else all_threads)


@cache
def _all_threads() -> int:
    """torch's own choice, which an environment variable may have made."""
    import torch

    return torch.get_num_threads()
