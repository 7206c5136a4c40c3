"""RWKV as the decode loop sees it: a state in place of a KV cache, read on and never cut."""

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
    """What one reply has read so far; takes a KV cache's place.

    Attributes:
        ids: the tokens read.
        state: the network's after them.
        snapshots: the state after so many tokens, for those that a later prompt may share.
    """

    ids: list[int]
    state: RwkvState
    snapshots: dict[int, RwkvState] = field(default_factory=dict)

    def get_seq_length(self) -> int:
        """Tokens read; the name is that of transformers' caches."""
        return len(self.ids)

    def take_snapshot(self) -> None:
        """Take a snapshot here."""
        self.snapshots[len(self.ids)] = self.state


class RwkvNetwork:
    """The calls of :class:`chatui.engine.model.Network` on an RWKV-4.

    Args:
        model: the network.
        opening: the tokens with which every chat begins.

    Attributes:
        chunk: tokens of a prompt that are read at once.
    """

    reuses_prefix = False
    """A state cannot be cut; ``state_store.StateStore`` keeps whole ones."""

    def __init__(self, model: Rwkv4, opening: Sequence[int] = ()) -> None:
        self.model = model
        self._opening = list(opening)
        parameters = sum(tensor.numel() for tensor in all_weights(model))
        self.chunk = prefill_chunk(parameters, model.head.device)

    def new_cache(self) -> RwkvCache:
        """Nothing read."""
        return RwkvCache([], self.model.first_state())

    def prefill(
        self, ids: Sequence[int], cache: RwkvCache, stop_wanted: Callable[[], bool]
    ) -> Tensor | None:
        """Read the part of ``ids`` that was not read yet.

        A snapshot is taken every ``PREFILL_CHUNK`` tokens, after the opening, and before the last
        token, so that a new chat reads its query only, and the same prompt (another reply to it)
        one token.

        Returns:
            logits of the next token, ``[vocabulary]`` float32; None if it was stopped.
        """
        if not self.read_up_to(ids[:-1], cache, stop_wanted):
            return None
        cache.take_snapshot()
        return None if stop_wanted() else self.read(ids[-1:], cache)

    def read_up_to(
        self, ids: Sequence[int], cache: RwkvCache, stop_wanted: Callable[[], bool]
    ) -> bool:
        """Read the part of ``ids`` that was not read yet; whether all of it is read now."""
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
        """Read one more token; see :meth:`prefill` for what it returns."""
        return self.read((token,), cache)

    def position_rows(self, length: int) -> tuple[tuple[int, ...], ...]:
        """None: an RNN knows no positions."""
        return ()

    @torch.inference_mode()
    def read(self, ids: Sequence[int], cache: RwkvCache) -> Tensor:
        """Read ``ids``, at least one; returns the logits after the last."""
        tokens = torch.tensor(ids, dtype=torch.int64, device=self.model.head.device)
        logits, cache.state = self.model.read(tokens, cache.state)
        cache.ids.extend(ids)
        return logits
