"""Long pastes, kept out of the editor: a short label stands in the text for each."""

from __future__ import annotations

import re

from chatui.locales import say

HELD_CHARACTERS = 4_000
HELD_LINES = 200
"""A paste beyond one of these is held: editing it character by character would be slow."""


class HeldPastes:
    """The pastes of one query, by their labels."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    @staticmethod
    def is_long(text: str) -> bool:
        """Whether a paste is better held than edited."""
        return len(text) > HELD_CHARACTERS or text.count("\n") > HELD_LINES

    def hold(self, text: str) -> str:
        """Keep ``text``; the label to show for it."""
        label = say("tui.query.pasted", number=len(self._texts) + 1, count=f"{len(text):,}")
        self._texts[label] = text
        return label

    def expand(self, text: str) -> str:
        """``text`` with each label replaced by what it stands for."""
        if not self._texts:
            return text
        labels = "|".join(map(re.escape, self._texts))
        return re.sub(labels, lambda match: self._texts[match[0]], text)

    def spans(self, line: str) -> list[tuple[int, int]]:
        """Where labels stand in a line, as (start, end)."""
        found: list[tuple[int, int]] = []
        for label in self._texts:
            start = line.find(label)
            while start >= 0:
                found.append((start, start + len(label)))
                start = line.find(label, start + len(label))
        return found

    def clear(self) -> None:
        """Forget all of them."""
        self._texts.clear()
