"""What was read is not read again: the KV cache of the last prompt and reply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers.cache_utils import Cache

from chatui.engine.network import Network


@dataclass
class PromptCache:
    """The token ids of the last prompt and reply, and their keys and values.

    It is taken at a reply's start and put back at its end, so a reply that breaks off in between
    leaves nothing half-written behind.
    """

    ids: list[int] = field(default_factory=list)
    cache: Cache | None = None

    def take(self, network: Network, ids: Sequence[int]) -> tuple[Cache, int]:
        """A cache for the prompt ``ids``, and how many of its first tokens it holds.

        The last token of a prompt is always read anew: its logits are what is wanted.
        """
        cache, known = self.cache, self.ids
        self.cache, self.ids = None, []
        if cache is None or not network.reuses_prefix:
            return network.new_cache(), 0
        kept = common_prefix(known, ids[:-1])
        if kept == 0:
            return network.new_cache(), 0
        surplus = len(known) - kept
        if surplus:
            cache.crop(-surplus)
        return cache, kept

    def put(self, network: Network, cache: Cache, ids: list[int]) -> None:
        """Keep ``cache``, which holds exactly the tokens ``ids``, where it can be of use."""
        if network.reuses_prefix:
            self.cache, self.ids = cache, ids


def common_prefix(first: Sequence[int], second: Sequence[int]) -> int:
    """The number of equal tokens at the start of both."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count
