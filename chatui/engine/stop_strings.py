"""Stop strings, found across token borders and never shown."""

from __future__ import annotations

from collections.abc import Iterable


class StopStrings:
    """Lets text through until one of the stop strings is complete.

    What may become a stop string is held back: at most the longest stop string less one
    character, so the work for each token is bounded.
    """

    def __init__(self, strings: Iterable[str]) -> None:
        self._strings = tuple(dict.fromkeys(string for string in strings if string))
        self._held = ""
        self.stopped = False

    def add(self, text: str) -> str:
        """The text that can be shown now; sets ``stopped`` when a stop string is complete."""
        if self.stopped:
            return ""
        if not self._strings:
            return text
        text = self._held + text
        found = [place for string in self._strings if (place := text.find(string)) >= 0]
        if found:
            self.stopped = True
            self._held = ""
            return text[: min(found)]
        held = max(_overlap(text, string) for string in self._strings)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def flush(self) -> str:
        """The reply ended otherwise: what was held back was no stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, string: str) -> int:
    """Length of the longest proper beginning of ``string`` with which ``text`` ends."""
    for length in range(min(len(text), len(string) - 1), 0, -1):
        if text.endswith(string[:length]):
            return length
    return 0
