"""Work on the device as one CUDA graph: some hundred launches become one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import torch
from torch import Tensor

from chatui.engine.architectures.decoder.fixed_cache import FixedCache

MIN_WINDOW = 1024
"""Tokens that the shortest captured step looks back on; longer ones double."""

_WARM_UPS = 2
"""Runs before a capture, in which libraries allocate and choose what a graph may not."""


class CapturedGraph:
    """Work that is the same at every call, on buffers that stay where they are.

    On a CPU there is nothing to capture, and each call does the work itself.

    Args:
        work: has been done on this device before, so that libraries have allocated and chosen what
            a graph may not.
    """

    def __init__(self, work: Callable[[], Tensor], device: torch.device) -> None:
        self._work = work
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            # A layer may do what cannot be captured (wait for the device): then it is run as it is.
            with suppress(RuntimeError):
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    self._result = work()
                self._graph = graph

    def __call__(self) -> Tensor:
        """What the work gives; valid until the next call."""
        if self._graph is None:
            return self._work()
        self._graph.replay()
        return self._result


class DecodeStep(Protocol):
    """Reads the token ``ids`` ``[1]`` at the cache's position, which moves on by one."""

    def __call__(self, ids: Tensor, cache: FixedCache, window: int) -> Tensor: ...


def read_captured(step: DecodeStep, token: int | Tensor, cache: FixedCache) -> Tensor:
    """Read one token with ``step``, captured once for each window; the logits, ``[vocabulary]``."""
    needed = cache.length + 1
    cache.reserve(needed)
    window = min(cache.capacity, max(MIN_WINDOW, 1 << (needed - 1).bit_length()))
    if window not in cache.steps:
        cache.steps[window] = CapturedStep(step, cache, window)
    logits: Tensor = cache.steps[window](token)
    cache.length = needed
    return logits


class CapturedStep:
    """Reads one token after another over a fixed window of a cache's buffers.

    Args:
        step: reads a token; its operations must be the same for every token and position.
        cache: whose buffers and position it uses; they must stay where they are.
        window: tokens that it looks back on.
    """

    def __init__(self, step: DecodeStep, cache: FixedCache, window: int) -> None:
        device = cache.position.device
        self._ids = torch.zeros(1, dtype=torch.int64, device=device)

        def work() -> Tensor:
            return step(self._ids, cache, window)

        if device.type == "cuda":
            # Each warm-up writes the same slot, which the first replay then writes again.
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UPS):
                    work()
                    cache.move_to(cache.length)
            torch.cuda.current_stream().wait_stream(side)
        self._read = CapturedGraph(work, device)
        cache.move_to(cache.length)

    def __call__(self, token: int | Tensor) -> Tensor:
        """The logits after ``token``, ``[vocabulary]``; they are valid until the next call.

        A token that only the device knows, int64 ``[]``, is not waited for.
        """
        self._ids.fill_(token)
        return self._read()
