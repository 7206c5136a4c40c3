"""What was read is not read again: whole states, each under the tokens that it stands for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from chatui.engine.architectures.rwkv.rwkv_modeling import RwkvState
from chatui.engine.architectures.rwkv.rwkv_network import RwkvCache
from chatui.engine.model import Network

MAX_STATES = 64
"""States that are kept. One is small: 2.6 MB for a 7B model, whose weights take 15 GB."""


class StateStore:
    """States of the prompts and replies of this session, the least recently used dropped first.

    A state is of use where all its tokens are the first of a prompt, so several conversations,
    free text beside them and an earlier round's other reply all go on from where they were.

    Args:
        opening: the tokens with which every chat begins; their state is never dropped.
        most: how many states are kept.
    """

    def __init__(self, opening: Sequence[int] = (), most: int = MAX_STATES) -> None:
        self._opening = tuple(opening)
        self._most = most
        self._states: OrderedDict[tuple[int, ...], RwkvState] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """Bytes of all states."""
        return sum(s.shift.nbytes + s.sums.nbytes for s in self._states.values())

    def take(self, network: Network, ids: Sequence[int]) -> tuple[Any, int]:
        """A reading for the prompt ``ids``, and how many of its first tokens it has read.

        The last token of a prompt is always read anew: its logits are what is wanted.
        """
        reading = network.new_cache()
        wanted = tuple(ids)
        best: tuple[int, ...] = ()
        for known in self._states:
            if len(best) < len(known) < len(wanted) and wanted[: len(known)] == known:
                best = known
        if best:
            self._states.move_to_end(best)
            reading = RwkvCache(list(best), self._states[best])
        return reading, len(best)

    def put(self, network: Network, cache: Any, ids: list[int]) -> None:
        """Keep the states of a reading, which has read exactly ``ids``."""
        reading: RwkvCache = cache
        reading.take_snapshot()
        for length, state in reading.snapshots.items():
            if length:
                self._states[tuple(ids[:length])] = state
                self._states.move_to_end(tuple(ids[:length]))
        if self._opening in self._states:
            self._states.move_to_end(self._opening)
        while len(self._states) > self._most:
            self._states.popitem(last=False)
