"""A KV cache of one sequence in preallocated buffers, and decode steps captured on it.

The position is on the device too, so that a step can be captured as a CUDA graph, which replaces
hundreds of kernel launches by one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from chatui.engine.cache import GROWTH_STEP, SHRINK_FACTOR, capacity_for, resized_buffer

MIN_WINDOW = 1024
"""Smallest attention window of a captured step, in tokens; larger windows are powers of two."""

_WARM_UP_RUNS = 2
"""Runs before a capture, in which libraries allocate memory and select algorithms."""


@dataclass
class FixedLayer:
    """The keys and values of a layer, each ``[key heads, capacity, head_dim]``.

    Attributes:
        zero_unused: whether to fill unused slots with zeros, for steps that attend to them.
    """

    keys: Tensor
    values: Tensor
    zero_unused: bool

    def resize(self, capacity: int, used: int) -> None:
        """Move the first ``used`` tokens into buffers for ``capacity`` tokens."""
        self.keys = resized_buffer(self.keys, capacity, used, zero_unused=self.zero_unused)
        self.values = resized_buffer(self.values, capacity, used, zero_unused=self.zero_unused)


class FixedCache:
    """A KV cache whose buffers are reallocated only when they are full.

    A step writes at ``position``, which is on the device, so that a captured step can be replayed.

    Args:
        layers: the layers, with empty buffers and a method ``resize`` as :class:`FixedLayer` has.
        position: int64 ``[1]``, 0.
        window: capacity limit in tokens, exceeded only if more tokens are read.
        windowed: see :class:`CachedReader`.

    Attributes:
        layers: the layers.
        length: number of tokens read.
        position: the same number on the device.
        capacity: number of tokens that the buffers have room for.
        bidirectional: number of first tokens that attend to each other in both directions.
        steps: captured steps by their window, valid for the present buffers only.
    """

    def __init__(
        self, layers: Sequence[Any], position: Tensor, window: int, *, windowed: bool
    ) -> None:
        self._window = window
        self._step = MIN_WINDOW if windowed else GROWTH_STEP
        self.layers = layers
        self.length = 0
        self.position = position
        self.capacity = 0
        self.bidirectional = 0
        self.steps: dict[int, Callable[[int | Tensor], Tensor]] = {}

    def get_seq_length(self) -> int:
        """See :meth:`chatui.engine.model.Network.new_cache`."""
        return self.length

    def reserve(self, tokens: int) -> None:
        """Grow the buffers until they hold ``tokens`` tokens."""
        if tokens > self.capacity:
            self._resize(capacity_for(tokens, self._window, self._step))

    def move_to(self, length: int) -> None:
        """Set the number of tokens; later ones are discarded."""
        self.length = length
        self.position.fill_(length)

    @torch.inference_mode()
    def crop(self, tokens_to_remove: int) -> None:
        """Discard the last ``-tokens_to_remove`` tokens, and shrink buffers that are too large."""
        self.move_to(self.length + tokens_to_remove)
        fitting = capacity_for(self.length, self._window, self._step)
        if self.capacity >= SHRINK_FACTOR * fitting:
            self._resize(fitting)

    def _resize(self, capacity: int) -> None:
        self.steps.clear()
        for layer in self.layers:
            layer.resize(capacity, self.length)
        self.capacity = capacity


class CachedReader(ABC):
    """Reads the tokens of one sequence into a :class:`FixedCache`.

    Attributes:
        device: the device of the model.
        windowed: whether a step attends to a whole window of the cache and masks the unused slots,
            as a captured step must; otherwise it attends to the used slots only.
    """

    def __init__(self, device: torch.device, *, windowed: bool) -> None:
        self.device = device
        self.windowed = windowed

    @abstractmethod
    def new_cache(self, window: int) -> FixedCache:
        """Return an empty cache for up to ``window`` tokens."""

    @abstractmethod
    def logits(
        self, ids: Tensor, slots: Tensor, cache: FixedCache, window: int, masked: bool, last: int
    ) -> Tensor:
        """Write the tokens' keys and values to ``cache``; return logits ``[last, vocabulary]``.

        Args:
            ids: int64 ``[rows]``.
            slots: their cache slots, int64 ``[rows]``.
            window: number of cache slots to attend to.
            masked: whether the first row has slots to attend to before it, or unused ones after it.
            last: number of last tokens to compute logits for.
        """

    def read(self, ids: Sequence[int | Tensor], cache: FixedCache) -> Tensor:
        """Read more tokens; return the logits of the next token, ``[vocabulary]``.

        A single token may be a tensor on the device, int64 ``[]``. If ``windowed``, the host does
        not wait for it, and the step is captured once for each window.
        """
        if len(ids) > 1:
            return self.read_all(ids, cache, last=1)[0]
        needed = cache.length + 1
        cache.reserve(needed)
        if self.windowed:
            window = min(cache.capacity, max(MIN_WINDOW, 1 << (needed - 1).bit_length()))
            if window not in cache.steps:
                cache.steps[window] = captured_step(self.read_one, cache, window)
            logits = cache.steps[window](ids[0])
        else:
            logits = self.read_one(torch.tensor(ids, device=self.device), cache, needed)
        cache.length = needed
        return logits

    def read_all(self, ids: Sequence[int | Tensor], cache: FixedCache, last: int) -> Tensor:
        """Read more tokens; return the logits after the last ones, ``[last, vocabulary]``."""
        start, end = cache.length, cache.length + len(ids)
        cache.reserve(end)
        slots = torch.arange(start, end, device=self.device)
        tokens = torch.tensor(ids, device=self.device)
        logits = self.logits(tokens, slots, cache, end, start > 0, last)
        cache.move_to(end)
        return logits

    def read_one(self, ids: Tensor, cache: FixedCache, window: int) -> Tensor:
        """Read the token ``ids`` ``[1]`` and advance the cache's position; return the logits.

        So that the step can be captured, the operations depend on no host value except ``window``.
        """
        logits = self.logits(ids, cache.position, cache, window, self.windowed, 1)[0]
        cache.position.add_(1)
        return logits


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


def captured_step(
    step: Callable[[Tensor, FixedCache, int], Tensor], cache: FixedCache, window: int
) -> Callable[[int | Tensor], Tensor]:
    """Capture a decode step for a fixed window of a cache.

    Args:
        step: the function to capture; its operations must be the same for all tokens and positions.
        cache: the cache, whose buffers and position must not be reallocated.
        window: number of cache slots that the step attends to.

    Returns:
        A function of a token, or of a tensor on the device, int64 ``[]``, for which the host does
        not wait. It returns the logits, ``[vocabulary]``, which are valid until the next call.
    """
    device = cache.position.device
    ids = torch.zeros(1, dtype=torch.int64, device=device)

    def work() -> Tensor:
        return step(ids, cache, window)

    if device.type == "cuda":
        # All warm-ups write the same slot, which the first replay overwrites.
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP_RUNS):
                work()
                cache.move_to(cache.length)
        torch.cuda.current_stream().wait_stream(side)
    graph = CapturedGraph(work, device)
    cache.move_to(cache.length)

    def read(token: int | Tensor) -> Tensor:
        ids.fill_(token)
        return graph()

    return read
