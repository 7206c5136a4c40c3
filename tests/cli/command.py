"""The type of the fixture that runs ``chatui`` as a process."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

Completed = subprocess.CompletedProcess[str]
Chatui = Callable[..., Completed]


def is_one_sentence(text: str) -> bool:
    """Whether ``text`` is all that an error may write to standard error."""
    return text.startswith("chatui: ") and text.count("\n") == 1 and text.rstrip().endswith(".")
