"""Prompt look-up decoding: read several tokens at once if the reply repeats an earlier passage.

If the last tokens occurred before, the tokens that followed them are drafted and read together with
the next token (github.com/apoorvumang/prompt-lookup-decoding). The logits after a drafted token are
used if the reply chooses that token; the rest of the draft is dropped. Replies are the same as with
single steps, because the logits differ only by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

_MATCHED = 3
"""Tokens that must match an earlier passage."""
_DRAFTED = 4
"""Tokens in a draft."""
_LONGEST_PAUSE = 64
"""Maximum steps without a draft after drafts that were wrong."""


class PromptLookup:
    """Reads the tokens of a reply in place of the network's ``step``.

    Args:
        network: a network with ``read_reply``.
        cache: a cache with the prompt, which can be cropped.
        ids: the prompt.
    """

    def __init__(self, network: Any, cache: Any, ids: Sequence[int]) -> None:
        self._network = network
        self._cache = cache
        self._ids: list[int] = []
        self._following: dict[tuple[int, ...], int] = {}
        self._draft: list[int] = []
        self._logits: list[Tensor] = []
        self._pause = self._waiting = 0
        for token in ids:
            self._add(token)

    def step(self, token: int) -> Tensor:
        """Return the logits after ``token``, ``[vocabulary]`` float32."""
        hit = self._draft[:1] == [token]
        if not hit:
            self.drop_draft()
        match = self._following.get((*self._ids[1 - _MATCHED :], token))
        self._add(token)
        if hit:
            self._pause = 0
            del self._draft[0]
            return self._logits.pop(0)
        self._waiting -= 1
        if match is None or self._waiting > 0:
            logits: Tensor = self._network.step(token, self._cache)
            return logits
        self._draft = self._ids[match : match + _DRAFTED]
        # The pause doubles with each draft without a right token.
        self._waiting = self._pause = min(_LONGEST_PAUSE, 2 * self._pause or 1)
        rows: Tensor = self._network.read_reply((token, *self._draft), self._cache)
        self._logits = list(rows[1:])
        return rows[0]

    def drop_draft(self) -> None:
        """Remove drafted tokens that were not chosen from the cache."""
        if self._draft:
            self._cache.crop(-len(self._draft))
        self._draft, self._logits = [], []

    def _add(self, token: int) -> None:
        self._ids.append(token)
        if len(self._ids) >= _MATCHED:
            self._following[tuple(self._ids[-_MATCHED:])] = len(self._ids)
