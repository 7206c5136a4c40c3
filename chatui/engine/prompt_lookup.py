"""Several tokens in one read, where prompt or reply went on from the same words before.

What followed the last tokens when they stood there before is read with the next token, all at once
(prompt look-up: github.com/apoorvumang/prompt-lookup-decoding). A token that the reply then chooses
as drafted has its logits already; the rest of a draft is forgotten. The tokens are those of single
steps, for logits differ by rounding alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

_WORDS = 3
"""Tokens that must be the same before something is drafted."""
_DRAFTED = 4
_LONGEST_PAUSE = 64


class PromptLookup:
    """Reads a reply's tokens with a network, as its ``step`` does.

    Args:
        network: one that reads several tokens of a reply at once.
        cache: that holds the prompt, and can be cropped.
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
        """The logits after ``token``, ``[vocabulary]`` float32."""
        hit = self._draft[:1] == [token]
        if not hit:
            self.drop_draft()
        before = self._following.get((*self._ids[1 - _WORDS :], token))
        self._add(token)
        if hit:
            self._pause = 0
            del self._draft[0]
            return self._logits.pop(0)
        self._waiting -= 1
        if before is None or self._waiting > 0:
            logits: Tensor = self._network.step(token, self._cache)
            return logits
        self._draft = self._ids[before : before + _DRAFTED]
        # Nothing is drafted for a while after a draft of which no token was right.
        self._waiting = self._pause = min(_LONGEST_PAUSE, 2 * self._pause or 1)
        rows: Tensor = self._network.read_reply((token, *self._draft), self._cache)
        self._logits = list(rows[1:])
        return rows[0]

    def drop_draft(self) -> None:
        """Forget what was drafted and not chosen."""
        if self._draft:
            self._cache.crop(-len(self._draft))
        self._draft, self._logits = [], []

    def _add(self, token: int) -> None:
        self._ids.append(token)
        if len(self._ids) >= _WORDS:
            self._following[tuple(self._ids[-_WORDS:])] = len(self._ids)
