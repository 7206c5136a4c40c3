"""RWKV's prefill and decode step, as the decode loop calls them, with states as its cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from chatui.engine.architectures.rwkv.rwkv_modeling import Rwkv4, RwkvState
from chatui.engine.model import Network
from chatui.engine.network import PREFILL_CHUNK, prefill_chunk

MAX_STATES = 64
"""Maximum number of states. A state of a 7B model takes 2.6 MB, its weights 15 GB."""


@dataclass
class RwkvCache:
    """The state of one sequence, used in place of a KV cache.

    Attributes:
        ids: tokens read.
        state: the network's state after them.
        snapshots: states at positions that a later prompt may share, by the number of tokens read.
    """

    ids: list[int]
    state: RwkvState
    snapshots: dict[int, RwkvState] = field(default_factory=dict)

    def get_seq_length(self) -> int:
        """Return the number of tokens read; transformers' caches have this method too."""
        return len(self.ids)

    def take_snapshot(self) -> None:
        """Keep the present state."""
        self.snapshots[len(self.ids)] = self.state


class RwkvNetwork:
    """An RWKV-4 with the methods of :class:`chatui.engine.model.Network`.

    Args:
        model: the network.
        opening: the tokens with which every chat begins.

    Attributes:
        chunk: tokens of a prompt that are read in one call.
    """

    reuses_prefix = False
    """A state cannot be cropped; ``StateStore`` keeps whole states instead."""

    def __init__(self, model: Rwkv4, opening: Sequence[int] = ()) -> None:
        self.model = model
        self._opening = list(opening)
        parameters = sum(tensor.numel() for tensor in model.weights)
        self.chunk = prefill_chunk(parameters, model.head.device)

    def new_cache(self) -> RwkvCache:
        """Return an empty cache."""
        return RwkvCache([], self.model.first_state())

    def prefill(
        self, ids: Sequence[int], cache: RwkvCache, stop_wanted: Callable[[], bool]
    ) -> Tensor | None:
        """Read the part of ``ids`` that ``cache`` does not hold.

        Snapshots are taken every ``PREFILL_CHUNK`` tokens, after the opening, and before the last
        token. A new chat then reads its query only, and another reply to the same prompt one token.

        Returns:
            The logits of the next token, ``[vocabulary]`` float32; None if stopped.
        """
        if not self.read_up_to(ids[:-1], cache, stop_wanted):
            return None
        cache.take_snapshot()
        return None if stop_wanted() else self.read(ids[-1:], cache)

    def read_up_to(
        self, ids: Sequence[int], cache: RwkvCache, stop_wanted: Callable[[], bool]
    ) -> bool:
        """Read the part of ``ids`` that ``cache`` does not hold; return False if stopped."""
        opening = len(self._opening)
        begins = list(ids[:opening]) == self._opening
        while (start := len(cache.ids)) < len(ids):
            if stop_wanted():
                return False
            snapshot = (start // PREFILL_CHUNK + 1) * PREFILL_CHUNK
            if begins and start < opening:
                snapshot = min(snapshot, opening)
            end = min(start + self.chunk, snapshot, len(ids))
            self.read(ids[start:end], cache)
            if end == snapshot:
                cache.take_snapshot()
        return True

    def step(self, token: int, cache: RwkvCache) -> Tensor:
        """Read one more token; return the logits, as :meth:`prefill` does."""
        return self.read((token,), cache)

    def position_rows(self, length: int) -> tuple[tuple[int, ...], ...]:
        """Return no rows; an RNN has no position ids."""
        return ()

    @torch.inference_mode()
    def read(self, ids: Sequence[int], cache: RwkvCache) -> Tensor:
        """Read ``ids``, at least one; return the logits after the last."""
        tokens = torch.tensor(ids, dtype=torch.int64, device=self.model.head.device)
        logits, cache.state = self.model.read(tokens, cache.state)
        cache.ids.extend(ids)
        return logits


class StateStore:
    """A least-recently-used store of the states of this session's prompts and replies.

    A state is reused if all its tokens are the beginning of a prompt. Several conversations, free
    text and other replies to earlier rounds can thus continue without being read again.

    Args:
        opening: the tokens with which every chat begins; their state is never dropped.
        max_states: number of states to keep.
    """

    def __init__(self, opening: Sequence[int] = (), max_states: int = MAX_STATES) -> None:
        self._opening = tuple(opening)
        self._max_states = max_states
        self._states: OrderedDict[tuple[int, ...], RwkvState] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """Memory of all states in bytes."""
        return sum(s.shift.nbytes + s.sums.nbytes for s in self._states.values())

    def take(self, network: Network, ids: Sequence[int]) -> tuple[Any, int]:
        """Return a cache with the longest stored beginning of ``ids``, and its length in tokens.

        The last token of a prompt is always left to read, because its logits are needed.
        """
        prompt = tuple(ids[:-1])
        stored = (known for known in self._states if prompt[: len(known)] == known)
        best = max(stored, key=len, default=())
        if not best:
            return network.new_cache(), 0
        self._states.move_to_end(best)
        return RwkvCache(list(best), self._states[best]), len(best)

    def put(self, network: Network, cache: Any, ids: list[int]) -> None:
        """Store the states of ``cache``, which has read exactly ``ids``."""
        cache.take_snapshot()
        for length, state in cache.snapshots.items():
            if length:
                self._states[tuple(ids[:length])] = state
                self._states.move_to_end(tuple(ids[:length]))
        if self._opening in self._states:
            self._states.move_to_end(self._opening)
        while len(self._states) > self._max_states:
            self._states.popitem(last=False)
