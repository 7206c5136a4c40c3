"""Types of the fixtures that run ``chatui`` as a process, and helpers of the tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

Completed = subprocess.CompletedProcess[str]


Chatui = Callable[..., Completed]


InTerminal = Callable[..., str]


def is_one_sentence(text: str) -> bool:
    """True if ``text`` is one error sentence on standard error."""
    return text.startswith("chatui: ") and text.count("\n") == 1 and text.rstrip().endswith(".")


def write_lines(file: Path, records: list[Any]) -> Path:
    lines = (json.dumps(record, ensure_ascii=False) for record in records)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def read_lines(file: Path) -> list[dict[str, list[int]]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
