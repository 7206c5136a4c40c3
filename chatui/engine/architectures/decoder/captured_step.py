"""Decode steps captured as CUDA graphs, which replaces hundreds of kernel launches by one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import torch
from torch import Tensor

from chatui.engine.architectures.decoder.fixed_cache import FixedCache

MIN_WINDOW = 1024
"""Smallest attention window of a captured step, in tokens; larger windows are powers of two."""

_WARM_UP_RUNS = 2
"""Runs before a capture, in which libraries allocate memory and select algorithms."""


class CapturedGraph:
    """A function captured as a CUDA graph; on a CPU it is called as it is.

    Args:
        work: the function, with the same operations on the same buffers at every call. It must have
            run on the device before, so that libraries have allocated memory and selected
            algorithms.
    """

    def __init__(self, work: Callable[[], Tensor], device: torch.device) -> None:
        self._work = work
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            # Some layers cannot be captured, for example because they wait for the device.
            with suppress(RuntimeError):
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph):
                    self._result = work()
                self._graph = graph

    def __call__(self) -> Tensor:
        """Return the function's result, which is valid until the next call."""
        if self._graph is None:
            return self._work()
        self._graph.replay()
        return self._result


class DecodeStep(Protocol):
    """A function that reads the token ``ids`` ``[1]`` and advances the cache's position by one."""

    def __call__(self, ids: Tensor, cache: FixedCache, window: int) -> Tensor: ...


def read_captured(step: DecodeStep, token: int | Tensor, cache: FixedCache) -> Tensor:
    """Read a token with ``step``, captured once for each window.

    Returns the logits of the next token, ``[vocabulary]``.
    """
    needed = cache.length + 1
    cache.reserve(needed)
    window = min(cache.capacity, max(MIN_WINDOW, 1 << (needed - 1).bit_length()))
    if window not in cache.steps:
        cache.steps[window] = CapturedStep(step, cache, window)
    logits: Tensor = cache.steps[window](token)
    cache.length = needed
    return logits


class CapturedStep:
    """A decode step captured for a fixed window of a cache.

    Args:
        step: the function to capture; its operations must be the same for all tokens and positions.
        cache: the cache, whose buffers and position must not be reallocated.
        window: number of cache slots that the step attends to.
    """

    def __init__(self, step: DecodeStep, cache: FixedCache, window: int) -> None:
        device = cache.position.device
        self._ids = torch.zeros(1, dtype=torch.int64, device=device)

        def work() -> Tensor:
            return step(self._ids, cache, window)

        if device.type == "cuda":
            # All warm-ups write the same slot, which the first replay overwrites.
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP_RUNS):
                    work()
                    cache.move_to(cache.length)
            torch.cuda.current_stream().wait_stream(side)
        self._read = CapturedGraph(work, device)
        cache.move_to(cache.length)

    def __call__(self, token: int | Tensor) -> Tensor:
        """Return the logits after ``token``, ``[vocabulary]``, which are valid until the next call.

        A token may be a tensor on the device, int64 ``[]``; the host does not wait for it.
        """
        self._ids.fill_(token)
        return self._read()
