"""RWKV's prefill and decode step, as the decode loop calls them, with a state as its cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from chatui.engine.architectures.rwkv.rwkv_modeling import Rwkv4, RwkvState
from chatui.engine.architectures.rwkv.rwkv_weights import all_weights
from chatui.engine.network import PREFILL_CHUNK, prefill_chunk


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
    """A state cannot be cropped; ``state_store.StateStore`` keeps whole states instead."""

    def __init__(self, model: Rwkv4, opening: Sequence[int] = ()) -> None:
        self.model = model
        self._opening = list(opening)
        parameters = sum(tensor.numel() for tensor in all_weights(model))
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
