"""The types of the fixtures that run ``chatui`` as a process, and what they answer."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Completed = subprocess.CompletedProcess[str]
Chatui = Callable[..., Completed]
InTerminal = Callable[..., str]


def is_one_sentence(text: str) -> bool:
    """Whether ``text`` is all that an error may write to standard error."""
    return text.startswith("chatui: ") and text.count("\n") == 1 and text.rstrip().endswith(".")
