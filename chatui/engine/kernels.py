"""Whether there are kernels of our own for a device, and whether they are right there."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor
from torch.nn import functional

DEVICES = {"cuda"}
"""Kinds of devices that they are for; the tests add "cpu", where Triton interprets them."""


def on(states: Tensor) -> ModuleType | None:
    """:mod:`chatui.engine.triton_kernels` if ``states`` are one vector that they are there for."""
    if states.device.type not in DEVICES:
        return None
    return _kernels(states.device) if states.numel() == states.shape[-1] else None


@cache
def _kernels(device: torch.device) -> ModuleType | None:
    """None without Triton or a C compiler for it, and where a kernel gives something else."""
    if find_spec("triton") is None:
        return None
    from chatui.engine import packed

    random = torch.Generator().manual_seed(0)
    try:
        from chatui.engine import triton_kernels

        vector = torch.randn(80, generator=random).to(device)
        weight = torch.randn(100, 80, generator=random).to(device)
        exact = functional.linear(vector.double(), weight.double())
        found = [(triton_kernels.matvec(vector, weight, None), exact)]
        for bits in packed.BITS:
            made = packed.pack(weight, bits)
            expected = vector.double() @ packed.unpack(made)[:, :100].double()
            found.append((triton_kernels.packed_matvec(vector, made, 100, bits, None), expected))
    except Exception:
        # Whatever a compiler says: PyTorch's own products serve as well.
        return None
    right = all(torch.allclose(one.double(), two, atol=1e-3) for one, two in found)
    return triton_kernels if right else None
