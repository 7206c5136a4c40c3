"""A cache of RWKV states by the tokens that they were computed from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from chatui.engine.architectures.rwkv.rwkv_modeling import RwkvState
from chatui.engine.architectures.rwkv.rwkv_network import RwkvCache
from chatui.engine.model import Network

MAX_STATES = 64
"""Maximum number of states. A state of a 7B model takes 2.6 MB, its weights 15 GB."""


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
