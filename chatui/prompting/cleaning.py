"""What is cut off a finished reply."""

from __future__ import annotations

from collections.abc import Callable


def cut_at(*marks: str) -> Callable[[str], str]:
    """A clean-up that ends the reply where the first of ``marks`` begins, and strips it."""

    def clean(text: str) -> str:
        for mark in marks:
            text = text.partition(mark)[0]
        return text.strip()

    return clean
