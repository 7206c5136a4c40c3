"""Types of the fixtures that run ``chatui`` as a process, and of their results."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Completed = subprocess.CompletedProcess[str]
Chatui = Callable[..., Completed]
InTerminal = Callable[..., str]


def is_one_sentence(text: str) -> bool:
    """True if ``text`` is one error sentence on standard error."""
    return text.startswith("chatui: ") and text.count("\n") == 1 and text.rstrip().endswith(".")
